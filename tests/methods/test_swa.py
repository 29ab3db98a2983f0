import jax
import numpy as np
import pytest
from cases import start
from own_lessons import KEY
from self_distil_cases import SELF_DISTIL
from tiny_nets import small

from kdjax import methods
from kdjax.core import InputError


def test_the_mean_is_shipped_beside_what_is_trained():
    case = SELF_DISTIL["swa"](net=small())
    state, seen = start(case), []
    step = jax.jit(case.method.step)
    for _ in range(6):
        state, _ = step(state, case.batch, KEY)
        seen.append(np.asarray(case.moved(state)[0]["student"]["classifier"]["kernel"]))
        if len(seen) == 3:  # of one snapshot, that of step 2, the mean is the snapshot
            np.testing.assert_array_equal(case.method.weights(state)["network"][0]["classifier"]["kernel"], seen[1])
    weights = case.method.weights(state)
    assert list(weights) == ["network", "online_network"]
    np.testing.assert_allclose(weights["network"][0]["classifier"]["kernel"], np.mean(seen[1::2], 0), atol=1e-6)  # 2, 4, 6
    np.testing.assert_array_equal(weights["online_network"][0]["classifier"]["kernel"], seen[-1])


def test_wrong_steps_are_refused():
    with pytest.raises(InputError, match=r"^every=0 is not accepted"):
        methods.swa(small(), SELF_DISTIL["swa"]().method, start=1, every=0)  # pyright: ignore
