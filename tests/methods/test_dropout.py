import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from own_lessons import KEY, learns_as_supervised, seen_of, total

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.self_distil.dropout import dropout_objective


def test_nothing_dropped_is_supervised_training():
    learns_as_supervised(CASES["dropout"](rate=0.0))


def test_kept_features_alone_count_and_stand_for_all():
    """Each image has a mask of its own; the cross-entropy is that of what it leaves, by hand."""
    classes, layer = 64, {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}
    labels = jnp.arange(200) % classes
    seen = seen_of({"pooled": jnp.ones((200, classes))}, labels, params={"classifier": layer}, key=KEY)
    loss = lambda pooled: total(dropout_objective(rate=0.25), seen.replace(student={"pooled": pooled}))  # noqa: E731
    gradient = jax.grad(loss)(jnp.ones((200, classes)))
    kept = np.asarray(gradient != 0)
    assert abs(kept.mean() - 0.75) < 0.02 and not (kept == kept[0]).all(1)[1:].any()
    z = kept / 0.75
    by_hand = np.log(np.exp(z).sum(1)) - z[np.arange(200), labels]
    np.testing.assert_allclose(total(dropout_objective(rate=0.25), seen), by_hand.mean(), rtol=1e-5)


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"^rate=1.0 is not accepted: expected a number from 0 to below 1"):
        methods.dropout(None, None, rate=1.0)  # pyright: ignore
