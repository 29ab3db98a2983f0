import jax
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import parameter_count, peer_queries

FEATURES = np.random.default_rng(0).normal(size=(3, 4, 16)).astype(np.float32)


def test_both_are_linear_and_the_same_for_all_peers():
    net = peer_queries(4)
    params, stats = net.init(jax.random.key(0), FEATURES)
    found, _ = net.apply(params, stats, FEATURES, train=True)
    for name in ("queries", "keys"):
        np.testing.assert_allclose(found[name], FEATURES @ np.asarray(params[name]["kernel"]), rtol=1e-4, atol=1e-6)
    assert not np.allclose(found["queries"], found["keys"])


@pytest.mark.parametrize(("reduction", "width"), [(8, 2), (4, 4), (32, 1)])
def test_parameters(reduction, width):
    assert parameter_count(peer_queries(reduction), FEATURES.shape) == 2 * 16 * width


def test_no_reduction_is_refused():
    with pytest.raises(InputError, match=r"^reduction=0 is not accepted"):
        peer_queries(0)
