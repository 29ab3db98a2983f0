"""Wide residual nets: parameters counted by hand, and what their taps mean."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

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


def written_out(params, stats, x):
    """The taps of a net with one block a stage, from the names of its parameters."""

    def conv(x, at, stride=1):
        pads = [(at["kernel"].shape[0] // 2,) * 2] * 2
        return lax.conv_general_dilated(x, at["kernel"], (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def norm(x, p, s):
        scale, bias, mean, var = (a.reshape(1, 1, 1, -1) for a in (p["scale"], p["bias"], s["mean"], s["var"]))
        return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias

    x = conv(x, params["conv"])
    taps = {"stem": x}
    for stage in (1, 2, 3):
        p, s = params[f"stage{stage}_block1"], stats[f"stage{stage}_block1"]
        stride = 1 if stage == 1 else 2
        taps[f"stage{stage - 1}_preact"] = norm(x, p["bn1"], s["bn1"])
        y = jax.nn.relu(taps[f"stage{stage - 1}_preact"])
        x = conv(y, p["shortcut_conv"], stride) if "shortcut_conv" in p else x
        y = jax.nn.relu(norm(conv(y, p["conv1"], stride), p["bn2"], s["bn2"]))
        x = x + conv(y, p["conv2"])
        taps[f"stage{stage}"] = x
    taps["stage3_preact"] = norm(x, params["bn"], stats["bn"])
    pooled = jax.nn.relu(taps["stage3_preact"]).mean((1, 2))
    c = params["classifier"]
    del taps["stage0_preact"]
    return taps | {"pooled": pooled, "logits": pooled @ c["kernel"] + c["bias"].reshape(1, -1)}


@pytest.mark.parametrize("width", [1, 2])
def test_every_tap_is_as_written_out(width, drawn):
    net = wrn(10, width, 3)
    x = jax.random.normal(jax.random.key(1), (2, 8, 9, 3))
    params, stats = drawn(net, x)

    def both(x):
        return net.apply(params, stats, x, train=False)[0], written_out(params, stats["batch_stats"], x)

    taps, expected = jax.jit(both)(x)
    assert set(expected) == {name for name in taps if not name.startswith("norm/") and "_block" not in name}
    for name, value in expected.items():
        np.testing.assert_allclose(taps[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    assert all(float(taps[f"stage{i}"].min()) < 0 for i in (1, 2, 3))  # sums, not rectified


def test_shortcuts():
    net = wrn(10, 1, 3)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    with_shortcut = [name for name in params if "shortcut_conv" in params[name]]
    assert with_shortcut == ["stage2_block1", "stage3_block1"]


@pytest.mark.parametrize(
    ("depth", "width", "named"), [(17, 1, "depth=17"), (19, 1, "depth=19"), (4, 1, "depth=4"), (16, 0, "width=0")]
)
def test_bad_sizes_are_refused(depth, width, named):
    with pytest.raises(InputError, match=named):
        wrn(depth, width)
