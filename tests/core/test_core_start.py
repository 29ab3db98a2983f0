"""Networks that start from given weights."""

import jax.numpy as jnp
import pytest

from kdjax.core import Frozen, InputError
from kdjax.core.start import started

FRESH = {"student": ({"dense": {"kernel": jnp.zeros((2, 3), jnp.bfloat16)}}, {"mean": jnp.zeros(3)}), "head": ({}, {})}


def test_given_weights_are_copied_in_the_dtype_of_the_fresh():
    kernel, mean = jnp.ones((2, 3)), jnp.full(3, 2.0)
    found = started(FRESH, {"student": ({"dense": {"kernel": kernel}}, {"mean": mean})})
    (params, stats), head = found["student"], found["head"]
    assert params["dense"]["kernel"].dtype == jnp.bfloat16 and params["dense"]["kernel"].tolist() == kernel.tolist()
    assert stats["mean"].tolist() == [2.0] * 3 and stats["mean"] is not mean and head is FRESH["head"]
    assert started(FRESH, {}) == FRESH


@pytest.mark.parametrize(
    ("start", "line"),
    [
        ({"studnt": ({}, {})}, "network 'studnt' is not known; accepted: student, head"),
        ({"student": Frozen({}, {})}, "the weights that 'student' starts from are of type Frozen: expected (params, stats)"),
        ({"student": ({}, {"mean": jnp.zeros(3)})}, "'student' starts from have nothing at params/dense/kernel: expected (2, 3)"),
        ({"student": (FRESH["student"][0], {"mean": jnp.zeros(4)})}, "have (4,) at stats/mean: expected (3,)"),
        ({"head": ({"bias": jnp.zeros(1)}, {})}, "have (1,) at params/bias: expected nothing"),
    ],
)
def test_other_weights_are_refused_in_one_line(start, line):
    with pytest.raises(InputError) as caught:
        started(FRESH, start)
    assert line in str(caught.value)
