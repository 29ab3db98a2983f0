"""ShuffleNetV2: parameters counted by hand, and what passes a unit untouched."""

import jax
import numpy as np

from kdjax.core.linen_net import from_linen
from kdjax.models import DownUnit, SplitUnit, parameter_count, shufflenet_v2
from kdjax.models.shufflenet_v1 import shuffled


def by_hand(classes):
    """A convolution k x k from a to b channels has k k a b weights, one on each of b channels k k b; its batch norm 2 b."""
    total, a = 3 * 24 + 2 * 24, 24
    for b, blocks in ((116, 4), (232, 8), (464, 4)):
        half = b // 2
        alone, dense = 9 * half + 2 * half, half * half + 2 * half
        total += 9 * a + 2 * a + 2 * (a * half + 2 * half) + alone + dense + (blocks - 1) * (2 * dense + alone)
        a = b
    return total + 464 * 1024 + 2 * 1024 + 1024 * classes + classes


def test_parameter_counts():
    assert parameter_count(shufflenet_v2(), (1, 32, 32, 3)) == by_hand(100) == 1_355_528
    assert parameter_count(shufflenet_v2(10), (1, 32, 32, 3)) == by_hand(10)


def test_the_first_half_passes_a_unit_untouched(drawn):
    class Both(SplitUnit):
        def __call__(self, x, train):
            after, before = super().__call__(x, train)
            return {"after": after, "before": before}

    net, x = from_linen(Both()), jax.random.normal(jax.random.key(1), (1, 4, 5, 8))
    taps, _ = net.apply(*drawn(net, x), x, train=False)
    np.testing.assert_array_equal(taps["before"][..., :4], x[..., :4])
    assert float(taps["before"][..., 4:].min()) < 0
    rectified = np.concatenate([x[..., :4], np.maximum(taps["before"][..., 4:], 0)], -1)
    np.testing.assert_array_equal(taps["after"], shuffled(rectified, 2))


def test_a_unit_with_stride_takes_half_from_each_branch(drawn):
    net, x = from_linen(DownUnit(12)), jax.random.normal(jax.random.key(1), (1, 5, 6, 4))
    params, stats = drawn(net, x)
    zero = {"scale": np.zeros(6, np.float32), "bias": np.zeros(6, np.float32)}
    stats = {"batch_stats": stats["batch_stats"]}
    for layer, silent in (("bn2", slice(0, None, 2)), ("bn5", slice(1, None, 2))):
        y = net.apply(params | {layer: zero}, stats, x, train=False)[0]["logits"]
        other = slice(1 - silent.start, None, 2)
        assert y.shape == (1, 3, 3, 12) and not np.any(y[..., silent]) and np.any(y[..., other])
