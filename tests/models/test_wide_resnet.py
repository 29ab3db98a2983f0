"""Wide residual nets: parameters counted by hand, and what their taps mean."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.models import NETS, parameter_count, wrn


def by_hand(depth, width, classes):
    """Two batch norms a block, in front of the convolutions; one after the last stage; shortcuts without batch norm."""
    n, widths = (depth - 4) // 6, [16, 16 * width, 32 * width, 64 * width]
    total = 9 * 3 * 16
    for a, b in pairwise(widths):
        total += 2 * a + (2 * n - 1) * 2 * b + 9 * a * b + (2 * n - 1) * 9 * b * b
        total += a * b if a != b else 0
    return total + 2 * widths[-1] + widths[-1] * classes + classes


@pytest.mark.parametrize(
    ("depth", "width", "classes", "published"),
    [
        (16, 1, 100, 0.18),
        (16, 2, 100, 0.70),
        (40, 1, 100, 0.57),
        (40, 2, 100, 2.26),
        (28, 10, 10, 36.48),
    ],
)
def test_parameter_counts(depth, width, classes, published):
    count = parameter_count(NETS[f"wrn_{depth}_{width}"](classes=classes), (1, 32, 32, 3))
    assert count == by_hand(depth, width, classes) == parameter_count(wrn(depth, width, classes), (1, 32, 32, 3))
    assert round(count / 1e6, 2) == published


def test_preact_taps_are_the_next_batch_norm_of_the_sums(drawn):
    net = wrn(10, 2, 3)
    x = jax.random.normal(jax.random.key(1), (2, 8, 9, 3))
    params, stats = drawn(net, x)
    taps, _ = jax.jit(lambda x: net.apply(params, stats, x, train=False))(x)
    norms = {1: ("stage2_block1", "bn1"), 2: ("stage3_block1", "bn1"), 3: ("bn",)}
    for stage, path in norms.items():
        s, p = stats["batch_stats"], params
        for name in path:
            s, p = s[name], p[name]
        s, p = jax.tree.map(np.asarray, (s, p))
        expected = (np.asarray(taps[f"stage{stage}"]) - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]
        np.testing.assert_allclose(taps[f"stage{stage}_preact"], expected, rtol=1e-4, atol=1e-4)
        assert float(taps[f"stage{stage}"].min()) < 0  # a sum, not rectified
    np.testing.assert_allclose(taps["norm/stage1_block1/bn1"], taps["stem"])
    pooled = np.maximum(taps["stage3_preact"], 0).mean((1, 2))
    np.testing.assert_allclose(taps["pooled"], pooled, rtol=1e-5, atol=1e-6)


def test_shortcuts():
    net = wrn(10, 1, 3)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    with_shortcut = [name for name in params if "shortcut_conv" in params[name]]
    assert with_shortcut == ["stage2_block1", "stage3_block1"]


@pytest.mark.parametrize(("depth", "width", "named"), [(17, 1, "depth=17"), (4, 1, "depth=4"), (16, 0, "width=0")])
def test_bad_sizes_are_refused(depth, width, named):
    with pytest.raises(InputError, match=named):
        wrn(depth, width)
