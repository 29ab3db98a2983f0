import numpy as np
import pytest
from cases import CASES, start
from first_step import first_step, log_softmax, unit

from kdjax.core import InputError


def test_the_nearest_earlier_embedding_finds_the_prediction():
    step = first_step("nnclr")
    p, z = ([unit(taps[name]) for taps in step.online] for name in ("embedding", "projector/embedding"))
    queue = np.float64(step.state.memory.rows)
    nearest = [queue[np.argmax(view @ queue.T, 1)] for view in z]
    both = [-np.mean(np.diag(log_softmax(nearest[a] @ p[1 - a].T / 0.1))) for a in range(2)]
    np.testing.assert_allclose(step.metrics["nnclr"], np.mean(both), rtol=1e-4)
    np.testing.assert_allclose(step.new.memory.rows[:16], z[0], atol=1e-5)  # of the first view only


@pytest.mark.parametrize("options", [{"queue": 17}, {"temperature": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        start(CASES["nnclr"](**options))
