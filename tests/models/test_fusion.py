import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from kdjax.core import InputError
from kdjax.models import DualAttention, MultiScale, fusion

MAPS = tuple(np.random.default_rng(0).normal(size=(2, 4, 3, 3, 8)).astype(np.float32))
SHAPES = tuple(jnp.zeros(x.shape) for x in MAPS)


def count(net):
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(net.init, jax.random.key(0), SHAPES)[0]))


def test_parameters():
    """16 kernels of 9 pixels, 16 to 8 channels, two batch norms, a classifier; then the modules of each of two maps."""
    plain = 9 * 16 + 16 * 8 + 2 * 16 + 2 * 8 + 8 * 5 + 5
    assert count(fusion(5)) == plain
    assert count(fusion(5, scales=4)) == plain + 2 * (3 * (9 * 2 * 2 + 2 * 2) + 8 * 8)
    assert count(fusion(5, reduction=4)) == plain + 2 * (2 * 8 * 2 + 49 * 2)


def convolved(x, kernel):
    """A 3x3 or 7x7 convolution in float64, channel by channel, with zeros around."""
    parts = [
        [sum(correlate2d(row[..., i], kernel[..., i, o], "same") for i in range(x.shape[-1])) for o in range(kernel.shape[-1])]
        for row in np.float64(x)
    ]
    return np.moveaxis(np.array(parts), 1, -1)


def test_each_group_of_channels_sees_the_one_before():
    module = MultiScale(4)
    x = MAPS[0]
    variables = module.init(jax.random.key(0), x, train=False)
    found, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    params = jax.tree.map(np.float64, variables["params"])
    parts, out = np.split(np.float64(x), 4, axis=-1), []
    for k, part in enumerate(parts, 1):
        if k > 1:
            z = convolved(part + out[-1], params[f"conv{k}"]["kernel"])
            part = np.maximum((z - z.mean((0, 1, 2))) / np.sqrt(z.var((0, 1, 2)) + 1e-5), 0)
        out.append(part)
    expected = np.concatenate(out, -1) @ params["conv"]["kernel"][0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_channels_are_weighed_and_then_positions():
    module = DualAttention(4)
    variables = module.init(jax.random.key(0), MAPS[0])
    params = jax.tree.map(np.float64, variables["params"])
    x = np.float64(MAPS[0])
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    gate = sum(np.maximum(of(x, axis=(1, 2)) @ params["hidden"]["kernel"], 0) @ params["out"]["kernel"] for of in (np.mean, np.max))
    x = x * sigmoid(gate)[:, None, None]
    x = x * sigmoid(convolved(np.stack([x.mean(-1), x.max(-1)], -1), params["conv"]["kernel"]))
    np.testing.assert_allclose(module.apply(variables, MAPS[0]), x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "maps", "words"),
    [
        ({}, (SHAPES[0], SHAPES[1][:, :2]), r"maps of unequal shapes \[3, 3, 8\], \[2, 3, 8\] cannot be fused"),
        ({"scales": 3}, SHAPES, "scales=3 is not accepted: expected a divisor of the 8 channels of a map"),
    ],
)
def test_maps_that_do_not_fit_are_refused(options, maps, words):
    with pytest.raises(InputError, match=f"^{words}"):
        jax.eval_shape(fusion(5, **options).init, jax.random.key(0), maps)


@pytest.mark.parametrize(("classes", "options", "words"), [(0, {}, "classes=0"), (3, {"scales": -1}, "scales=-1")])
def test_numbers_out_of_range_are_refused(classes, options, words):
    with pytest.raises(InputError, match=f"^{words} is not accepted"):
        fusion(classes, **options)
