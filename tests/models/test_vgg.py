"""VGG: parameters counted by hand, pools, taps, initialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import jit_fast_compile
from kdjax.models import NETS, parameter_count, vgg8, vgg13

DEPTHS = {
    "vgg8": ((1, 1, 1, 1, 1), 3_965_028),
    "vgg11": ((1, 1, 2, 2, 2), 9_277_284),
    "vgg13": ((2, 2, 2, 2, 2), 9_462_180),
    "vgg16": ((2, 2, 3, 3, 3), 14_774_436),
    "vgg19": ((2, 2, 4, 4, 4), 20_086_692),
}


def by_hand(depths, classes):
    """A 3x3 convolution from a to b channels has 9 a b weights and b biases, its batch norm 2 b."""
    total, a = 0, 3
    for depth, b in zip(depths, (64, 128, 256, 512, 512), strict=True):
        total += 9 * a * b + (depth - 1) * 9 * b * b + depth * 3 * b
        a = b
    return total + 512 * classes + classes


@pytest.mark.parametrize("name", DEPTHS)
def test_parameter_counts(name):
    depths, published = DEPTHS[name]
    assert parameter_count(NETS[name](), (1, 32, 32, 3)) == by_hand(depths, 100) == published
    assert parameter_count(NETS[name](10), (1, 32, 32, 3)) == by_hand(depths, 10)


@pytest.mark.parametrize(("side", "maps"), [(32, (32, 16, 8, 4, 4)), (63, (63, 31, 15, 7, 7)), (64, (64, 32, 16, 8, 4))])
def test_the_last_pool_is_for_large_images(side, maps, shapes):
    _, _, taps, _ = shapes(vgg8(3), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32))
    assert tuple(taps[k].shape[1] for k in ("stem", "stage1", "stage2", "stage3", "stage4")) == maps


def test_taps_follow_one_another(drawn):
    net, x = vgg13(3), jax.random.normal(jax.random.key(1), (1, 8, 8, 3))
    params, stats = drawn(net, x)
    taps, _ = net.apply(params, stats, x, train=False)
    assert "stem_preact" not in taps and float(jnp.min(taps["stem"])) == 0
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        assert float(jnp.min(taps[f"{stage}_preact"])) < 0
        np.testing.assert_array_equal(taps[stage], np.maximum(taps[f"{stage}_preact"], 0))
    np.testing.assert_allclose(taps["pooled"], np.asarray(taps["stage4"]).mean((1, 2)), rtol=1e-5)
    bias = {**params, "stage4_conv2": params["stage4_conv2"] | {"bias": params["stage4_conv2"]["bias"] + 1}}
    moved, _ = net.apply(bias, stats, x, train=False)
    np.testing.assert_allclose(moved["norm/stage4_bn2"], taps["norm/stage4_bn2"] + 1, rtol=1e-4, atol=1e-4)


def test_kernels_start_as_he_says_and_the_linear_layer_small():
    params = jit_fast_compile(lambda key: vgg8(100).init(key, jnp.zeros((1, 8, 8, 3)))[0])(jax.random.key(0))
    assert float(params["stage2_conv1"]["kernel"].std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert float(params["classifier"]["kernel"].std()) == pytest.approx(0.01, rel=0.02)
    assert not np.any(params["stage2_conv1"]["bias"]) and not np.any(params["classifier"]["bias"])
