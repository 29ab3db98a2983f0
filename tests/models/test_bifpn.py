import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import bifpn, conv_net, vgg8
from kdjax.models.bifpn import _enlarged, _halved


def count(params):
    return sum(x.size for x in jax.tree.leaves(params))


def maps(*shapes):
    return {f"stage{k}": jnp.zeros((2, *shape)) for k, shape in enumerate(shapes, 1)}


@pytest.mark.parametrize(("width", "depth", "expected"), [(2, 2, 6_375_794), (1, 1, 1_538_866)])
def test_parameter_counts_are_those_of_the_authors_code(width, depth, expected):
    """Of `BiFPNc` over the stages of a ResNet-18 at 100 classes, layer by layer in github.com/MingiJi/FRSKD at 3173f22."""
    taps = maps((32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512))
    params, _ = jax.eval_shape(lambda: bifpn(100, width=width, depth=depth).init(jax.random.key(0), taps))
    assert count(params) == expected


@pytest.mark.parametrize("side", [8, 7])
def test_maps_have_the_sides_of_the_stages(side):
    net, backbone = bifpn(3), conv_net((2, 3, 4), 3)
    images = jnp.zeros((2, side, side, 1))
    taps = jax.eval_shape(lambda x: backbone.apply(*backbone.init(jax.random.key(0), x), x, train=False)[0], images)
    found = jax.eval_shape(lambda t: net.apply(*net.init(jax.random.key(0), t), t, train=True)[0], taps)
    for k in (1, 2, 3):
        assert found[f"fused{k}"].shape == (*taps[f"stage{k}"].shape[:3], 2 * (k + 1))
    assert found["fused_logits"].shape == (2, 3)


def test_stages_of_one_side_are_joined_as_they_are():
    net, backbone = bifpn(3, width=1, depth=1), vgg8(3)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    taps = jax.eval_shape(lambda x: backbone.apply(*backbone.init(jax.random.key(0), x), x, train=False)[0], images)
    found = jax.eval_shape(lambda t: net.apply(*net.init(jax.random.key(0), t), t, train=True)[0], taps)
    assert found["fused4"].shape == taps["stage4"].shape


def test_the_whole_is_that_of_the_formula(drawn):
    """Of two stages and one separable convolution a join, in NumPy, evaluated with the running statistics."""
    rng = np.random.default_rng(0)
    taps = {
        "stage1": jnp.asarray(rng.normal(size=(2, 4, 4, 2)), jnp.float32),
        "stage2": jnp.asarray(rng.normal(size=(2, 2, 2, 3)), jnp.float32),
    }
    net = bifpn(3, width=1, depth=1)
    params, stats = drawn(net, taps)
    found, _ = net.apply(params, stats, taps, train=False)
    p, s = (jax.tree.map(np.float64, tree) for tree in (params, stats["batch_stats"]))
    relu = lambda x: np.maximum(x, 0)  # noqa: E731

    def norm(name, x):
        return (x - s[name]["mean"]) / np.sqrt(s[name]["var"] + 1e-5) * p[name]["scale"] + p[name]["bias"]

    def pointwise(name, x):
        return relu(norm(f"{name}_bn", x @ p[f"{name}_conv"]["kernel"][0, 0]))

    def joined(name, *maps):
        w = relu(p[f"{name}_weights"])
        x = np.sum([a * b for a, b in zip(w / (w.sum() + 1e-6), maps, strict=True)], axis=0)
        padded, kernel = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), p[f"{name}_layer1_depthwise"]["kernel"][:, :, 0]
        x = sum(padded[:, i : i + x.shape[1], j : j + x.shape[2]] * kernel[i, j] for i in range(3) for j in range(3))
        return norm(f"{name}_layer1_bn", x @ p[f"{name}_layer1_pointwise"]["kernel"][0, 0])

    one, two = (relu(np.float64(taps[f"stage{k}"])) for k in (1, 2))
    behind = pointwise("enlarged1", pointwise("lateral2", two)).repeat(2, 1).repeat(2, 2)
    up = joined("up1", pointwise("lateral1", one), behind)
    padded = np.pad(relu(up), [(0, 0), (0, 1), (0, 1), (0, 0)])
    halved = np.stack([padded[:, i : i + 3 : 2, j : j + 3 : 2] for i in range(3) for j in range(3)]).max(0)
    down = joined("down2", pointwise("again2", two), pointwise("halved2", halved))
    logits = relu(down).mean((1, 2)) @ p["classifier"]["kernel"] + p["classifier"]["bias"]
    for name, wanted in {"fused1": up, "fused2": down, "fused_logits": logits}.items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=1e-5)


def test_odd_sides():
    x = jnp.arange(1.0, 4).reshape(1, 1, 3, 1)
    assert _enlarged(x, jnp.zeros((1, 1, 7, 1)))[0, 0, :, 0].tolist() == [1, 1, 2, 2, 3, 3, 3]
    assert _enlarged(x, jnp.zeros((1, 1, 5, 1)))[0, 0, :, 0].tolist() == [1, 1, 2, 2, 3]
    x = jnp.arange(1.0, 8).reshape(1, 1, 7, 1)
    assert _halved(x, jnp.zeros((1, 1, 3, 1)))[0, 0, :, 0].tolist() == [3, 5, 7]
    assert _halved(x, jnp.zeros((1, 1, 4, 1)))[0, 0, :, 0].tolist() == [2, 4, 6, 7]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((4, 4, 2),), "of which this one has 1: expected 2 or more"),
        (((8, 8, 2), (2, 2, 2)), "expected half a side of 8 in the stage behind, found 2"),
    ],
)
def test_other_backbones_are_refused(shapes, said):
    with pytest.raises(InputError, match=said):
        bifpn(3).init(jax.random.key(0), maps(*shapes))


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match="width=0 is not accepted"):
        bifpn(3, width=0)
