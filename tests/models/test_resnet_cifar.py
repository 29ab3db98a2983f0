"""CIFAR residual nets: parameters counted by hand, and the forward pass written out."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kdjax.models import NETS, parameter_count, resnet8, resnet8x4

PUBLISHED = {  # at 100 classes, as the benchmarks list them, in millions
    "resnet8": (8, (16, 16, 32, 64), 0.08),
    "resnet14": (14, (16, 16, 32, 64), 0.18),
    "resnet20": (20, (16, 16, 32, 64), 0.28),
    "resnet32": (32, (16, 16, 32, 64), 0.47),
    "resnet44": (44, (16, 16, 32, 64), 0.67),
    "resnet56": (56, (16, 16, 32, 64), 0.86),
    "resnet110": (110, (16, 16, 32, 64), 1.74),
    "resnet8x4": (8, (32, 64, 128, 256), 1.23),
    "resnet32x4": (32, (32, 64, 128, 256), 7.43),
}


def by_hand(depth, widths, classes):
    """A convolution k x k from a to b channels has k k a b weights, its batch norm 2 b."""
    total = 9 * 3 * widths[0] + 2 * widths[0]
    for a, b in pairwise(widths):
        n = (depth - 2) // 6
        total += 9 * a * b + (2 * n - 1) * 9 * b * b + 2 * n * 2 * b
        total += (a * b + 2 * b) if (a, b) != (16, 16) else 0
    return total + widths[-1] * classes + classes


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("classes", [10, 100])
def test_parameter_counts(name, classes):
    depth, widths, millions = PUBLISHED[name]
    count = parameter_count(NETS[name](classes=classes), (1, 32, 32, 3))
    assert count == by_hand(depth, widths, classes)
    if classes == 100:
        assert round(count / 1e6, 2) == millions


def test_counts_known_to_the_last_digit():
    known = {"resnet20": 278_324, "resnet56": 861_620, "resnet8x4": 1_233_540, "resnet32x4": 7_433_860}
    assert {n: parameter_count(NETS[n](), (1, 32, 32, 3)) for n in known} == known


def written_out(params, stats, x):
    """The taps of a net with one block a stage, from the names of its parameters."""

    def conv(x, at, stride=1):
        pad = at["kernel"].shape[0] // 2
        pads = [(pad, pad)] * 2
        return lax.conv_general_dilated(x, at["kernel"], (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def norm(x, p, s):
        y = (x - s["mean"].reshape(1, 1, 1, -1)) / jnp.sqrt(s["var"].reshape(1, 1, 1, -1) + 1e-5)
        return y * p["scale"].reshape(1, 1, 1, -1) + p["bias"].reshape(1, 1, 1, -1)

    x = jax.nn.relu(norm(conv(x, params["conv"]), params["bn"], stats["bn"]))
    taps = {"stem": x}
    for stage in (1, 2, 3):
        p, s = params[f"stage{stage}_block1"], stats[f"stage{stage}_block1"]
        stride = 1 if stage == 1 else 2
        y = jax.nn.relu(norm(conv(x, p["conv1"], stride), p["bn1"], s["bn1"]))
        y = norm(conv(y, p["conv2"]), p["bn2"], s["bn2"])
        if "shortcut_conv" in p:
            x = norm(conv(x, p["shortcut_conv"], stride), p["shortcut_bn"], s["shortcut_bn"])
        taps[f"stage{stage}_preact"] = x + y
        x = jax.nn.relu(x + y)
        taps[f"stage{stage}"] = x
    pooled = x.mean((1, 2))
    c = params["classifier"]
    return taps | {"pooled": pooled, "logits": pooled @ c["kernel"] + c["bias"].reshape(1, -1)}


@pytest.mark.parametrize("make", [resnet8, resnet8x4])
def test_every_tap_is_as_written_out(make, drawn):
    net = make(classes=3)
    x = jax.random.normal(jax.random.key(1), (2, 9, 8, 3))
    params, stats = drawn(net, x)
    both = jax.jit(lambda x: (net.apply(params, stats, x, train=False)[0], written_out(params, stats["batch_stats"], x)))
    taps, expected = both(x)
    for name, value in expected.items():
        np.testing.assert_allclose(taps[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
