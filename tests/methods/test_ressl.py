import numpy as np
import pytest
from cases import CASES, start
from first_step import first_step, log_softmax, unit

from kdjax.core import InputError


def test_the_strong_view_is_related_as_the_weak_one_is():
    """The online nets see the first view, the followers the second."""
    step = first_step("ressl")
    q, k, queue = unit(step.online[0]["embedding"]), unit(step.target[1]["embedding"]), np.float64(step.state.memory.rows)
    relations = np.exp(log_softmax(k @ queue.T / 0.04))
    expected = -np.mean(np.sum(relations * log_softmax(q @ queue.T / 0.1), -1))
    np.testing.assert_allclose(step.metrics["ressl"], expected, rtol=1e-4)
    np.testing.assert_allclose(step.new.memory.rows[:16], k, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"queue": 17}, {"key_temperature": 0.0}, {"query_temperature": -1.0}, {"momentum": 2.0}, {"steps": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        start(CASES["ressl"](**options))
