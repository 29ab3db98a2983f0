"""MobileNetV2: parameters counted by hand, widths, blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.core.linen_net import from_linen
from kdjax.models import InvertedResidual, mobilenet_v2, mobilenet_v2_half, parameter_count

GROUPS = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def by_hand(channels, stem, head, classes):
    """A convolution k x k from a to b channels in groups of a has k k b weights, its batch norm 2 b."""
    total, a = 9 * 3 * stem + 2 * stem, stem
    for (expansion, _, depth), b in zip(GROUPS, channels, strict=True):
        for _ in range(depth):
            inside = a * expansion
            total += (a * inside + 2 * inside) * (expansion > 1) + 9 * inside + 2 * inside + inside * b + 2 * b
            a = b
    return total + a * head + 2 * head + head * classes + classes


def test_parameter_counts():
    full = tuple(c for _, c, _ in GROUPS)
    assert parameter_count(mobilenet_v2(), (1, 64, 64, 3)) == by_hand(full, 32, 1280, 1000) == 3_504_872
    half, stem = (8, 16, 16, 32, 48, 80, 160), 16  # 24 * 0.5 = 12 is nearest to 16 of the multiples of 8 (upwards)
    assert parameter_count(mobilenet_v2(100, width=0.5), (1, 64, 64, 3)) == by_hand(half, stem, 1280, 100)
    above = (16, 16, 24, 48, 64, 112, 224)  # 16 * 0.7 = 11.2: 8 would be more than a tenth below
    assert parameter_count(mobilenet_v2(9, width=0.7), (1, 64, 64, 3)) == by_hand(above, 24, 1280, 9)
    wide = (24, 32, 48, 88, 136, 224, 448)
    assert parameter_count(mobilenet_v2(7, width=1.4), (1, 64, 64, 3)) == by_hand(wide, 48, 1792, 7)


def test_the_half_net_rounds_down_and_always_expands():
    half = (8, 12, 16, 32, 48, 80, 160)
    extra = 16 * 16 + 2 * 16  # the first convolution of the first block
    for classes, published in ((100, 812_836), (10, None)):
        count = parameter_count(mobilenet_v2_half(classes), (1, 32, 32, 3))
        assert count == by_hand(half, 16, 1280, classes) + extra and published in (None, count)


@pytest.mark.parametrize(("width", "stride", "added"), [(4, 1, True), (4, 2, False), (6, 1, False)])
def test_the_input_is_added_where_it_fits(drawn, width, stride, added):
    net, x = from_linen(InvertedResidual(width, stride)), jax.random.normal(jax.random.key(1), (1, 5, 5, 4))
    params, stats = drawn(net, x)
    silent = params | {"bn3": {"scale": np.zeros(width, np.float32), "bias": np.zeros(width, np.float32)}}
    stats = {"batch_stats": stats["batch_stats"]}
    taps, _ = net.apply(silent, stats, x, train=False)
    np.testing.assert_array_equal(taps["logits"], x if added else np.zeros((1, -(-5 // stride), -(-5 // stride), width)))


def test_stages_are_linear_and_the_head_is_not(drawn):
    net, x = mobilenet_v2(3, width=0.1), jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    params, stats = drawn(net, x)
    params["head_bn"]["bias"] += 5.0
    taps, _ = jax.jit(lambda p, s: net.apply(p, s, 30 * x, train=False))(params, stats)
    for stage in range(1, 5):
        np.testing.assert_array_equal(taps[f"stage{stage}"], taps[f"stage{stage}_preact"])
    assert float(jnp.min(taps["stage2"])) < 0
    np.testing.assert_array_equal(taps["head"], np.clip(taps["head_preact"], 0, 6))
    assert float(jnp.max(taps["head_preact"])) > 6 and float(jnp.max(taps["stem"])) == 6


@pytest.mark.parametrize("width", [0, -1.0])
def test_a_width_of_nothing_is_refused(width):
    with pytest.raises(InputError, match=f"width={width}"):
        mobilenet_v2(width=width)
