"""Counting parameters."""

import jax

from kdjax.core.net import Net
from kdjax.models import parameter_count


def test_counts_leaves_of_any_tree_and_computes_nothing():
    def init(key, x):
        del key
        assert isinstance(x, jax.core.Tracer)
        return {"a": x[0], "b": [x[0, :2], x.sum()]}, {"not counted": x}

    assert parameter_count(Net(init, lambda *_, **__: ({}, {})), (4, 5)) == 5 + 2 + 1
