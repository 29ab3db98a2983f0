"""ShuffleNet: parameters counted by hand, the shuffle, the two forms of a unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.linen_net import from_linen
from kdjax.models import ShuffleUnit, parameter_count, shufflenet_v1
from kdjax.models.shufflenet_v1 import shuffled


def by_hand(classes):
    """A convolution k x k from a to b channels in g groups has k k a b / g weights, its batch norm 2 b."""
    total, a = 3 * 24 + 2 * 24, 24
    for stage, (b, blocks) in enumerate(((240, 4), (480, 8), (960, 4))):
        for i in range(blocks):
            new = b - a if i == 0 else b
            inside, groups = new // 4, 1 if stage == i == 0 else 3
            total += a * inside // groups + 2 * inside + 9 * inside + 2 * inside + inside * new // 3 + 2 * new
            a = b
    return total + 960 * classes + classes


def test_parameter_counts():
    assert parameter_count(shufflenet_v1(), (1, 32, 32, 3)) == by_hand(100) == 949_258
    assert parameter_count(shufflenet_v1(10), (1, 32, 32, 3)) == by_hand(10)


def test_shuffled_takes_from_each_group_in_turn():
    x = np.arange(2 * 12).reshape(2, 12)
    expected = [[4 * g + i for i in range(4) for g in range(3)]]
    np.testing.assert_array_equal(shuffled(jnp.asarray(x), 3), np.concatenate([expected, np.add(expected, 12)]))
    np.testing.assert_array_equal(shuffled(shuffled(jnp.asarray(x), 3), 4), x)


@pytest.mark.parametrize(("stride", "width"), [(1, 24), (2, 48)])
def test_the_input_is_added_or_stands_behind(drawn, stride, width):
    class Both(ShuffleUnit):
        def __call__(self, x, train):
            after, before = super().__call__(x, train)
            return {"after": after, "before": before}

    net, x = from_linen(Both(width, stride)), jax.random.normal(jax.random.key(1), (1, 5, 6, 24))
    params, stats = drawn(net, x)
    new = params["bn3"]["bias"].shape[0]
    silent = params | {"bn3": {"scale": np.zeros(new, np.float32), "bias": np.full(new, 0.25, np.float32)}}
    taps, _ = net.apply(silent, {"batch_stats": stats["batch_stats"]}, x, train=False)
    if stride == 1:
        np.testing.assert_allclose(taps["before"], x + 0.25, rtol=1e-6)
    else:
        padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
        means = [[padded[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum((0, 1)) / 9 for j in range(3)] for i in range(3)]
        np.testing.assert_array_equal(taps["before"][..., :24], np.full((1, 3, 3, 24), 0.25, np.float32))
        np.testing.assert_allclose(taps["before"][0, ..., 24:], means, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(taps["after"], np.maximum(taps["before"], 0))
