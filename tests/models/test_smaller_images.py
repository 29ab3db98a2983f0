import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import build, conv_net, shrink

IMAGES = jax.random.uniform(jax.random.key(1), (3, 8, 10, 2))
SMALL = {"name": "conv_net", "widths": [2, 3], "mean": [0.25, 0.5], "std": [0.5, 2.0]}


def test_it_is_the_net_on_smaller_images():
    specification = {"name": "shrunk", "net": SMALL, "factor": 2, "classes": 4, "dtype": "float32"}
    net, inside = build(json.loads(json.dumps(specification))), build({**SMALL, "classes": 4})
    weights = net.init(jax.random.key(0), IMAGES)
    smaller = jax.image.resize(IMAGES, (3, 4, 5, 2), "bilinear")
    assert jax.tree.structure(weights) == jax.tree.structure(inside.init(jax.random.key(0), smaller))
    for train in (False, True):
        ours, wanted = net.apply(*weights, IMAGES, train=train), inside.apply(*weights, smaller, train=train)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, wanted)


def test_halving_is_nearly_the_mean_of_neighbours():
    """Bilinear with antialiasing: a triangle over four pixels, whose weights are 1, 3, 3, 1."""
    ramp = jnp.arange(8.0).reshape(1, 8, 1, 1) * jnp.ones((1, 1, 8, 1))
    inner = conv_net((1,), 1)._replace(apply=lambda p, s, x, *, train, key=None: ({"image": x}, s))
    taps, _ = shrink(inner, 2).apply({}, {}, ramp, train=False)
    np.testing.assert_allclose(taps["image"][0, 1:3, 0, 0], [2.5, 4.5], atol=1e-5)


def test_factor_1_changes_nothing():
    inside = conv_net((2,), 3)
    weights = inside.init(jax.random.key(0), IMAGES)
    ours, wanted = shrink(inside, 1).apply(*weights, IMAGES, train=False), inside.apply(*weights, IMAGES, train=False)
    jax.tree.map(np.testing.assert_array_equal, ours, wanted)


@pytest.mark.parametrize(("factor", "said"), [(0, "factor=0"), (1.5, "factor=1.5"), (9, "factor=9 .* at most 8")])
def test_refusals(factor, said):
    with pytest.raises(InputError, match=said):
        shrink(conv_net((2,), 3), factor).init(jax.random.key(0), IMAGES)
