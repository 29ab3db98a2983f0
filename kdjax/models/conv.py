"""Convolutions of all nets: one constructor, and a form whose gradients are fast on XLA's CPU back end.

XLA brings the two backward convolutions into the layout that its CPU kernels need only at the top level of a program;
inside `scan`, `map` and `cond` they run in a slow loop, and those of groups run in one everywhere. Here both are written
in that layout from the start, groups one by one, and channels alone as `depthwise.py` has them. Both files can go, and
`lax.conv_general_dilated` take their place, the day XLA does this everywhere.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kdjax.models.depthwise import depthwise_convolution
from kdjax.models.kernel_gradient import kernel_gradient

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He initialisation, not truncated
fan_in_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # U(-a, a), a = 1 / sqrt(fan in)
fan_out_uniform = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")  # the same of PyTorch's transposed convolutions

_NHWC = ("NHWC", "HWIO", "NHWC")


def fan_in_bias(fan_in: int) -> Any:
    """The initialiser of a bias beside a `fan_in_uniform` kernel: uniform in +-1/sqrt(fan in), where PyTorch's layers start.

    Args:
      fan_in: numbers that each output is made of: input channels times the pixels of the kernel; of a transposed convolution the
        *output* channels times these, as PyTorch counts.

    >>> bias = fan_in_bias(4)(jax.random.key(0), (1000,))
    >>> bool(0.49 < jnp.abs(bias).max() <= 0.5)
    True
    """
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -1, 1) / math.sqrt(fan_in)


def conv2d(
    features: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    bias: bool = False,
    init: Any = he_normal,
    bias_init: Any = nn.initializers.zeros,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    """A 2-D convolution with `kernel // 2` zeros on every side; stride 1 and an odd kernel keep the size.

    Args:
      features: output channels.
      kernel: side of the kernel, or (height, width), in pixels.
      stride: step in both directions.
      padding: zeros on every side; None: `kernel // 2`.
      groups: groups of channels.
      bias: whether a bias is added; none in front of batch norm.
      init: initialiser of the kernel `[height, width, in / groups, features]`.
      bias_init: initialiser of the bias `[features]`.
      dtype: dtype of the computation; parameters are float32.
      name: name of the layer in its module.

    Returns:
      An unbound Linen layer `[B, H, W, in] -> [B, H', W', features]`.

    >>> layer = conv2d(8, 3, stride=2)
    >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.zeros((2, 7, 7, 3)))[0].shape
    (2, 4, 4, 8)
    """
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    zeros = [side // 2 if padding is None else padding for side in sides]
    return nn.Conv(
        features,
        sides,
        strides=(stride, stride),
        padding=[(n, n) for n in zeros],
        feature_group_count=groups,
        use_bias=bias,
        dtype=dtype,
        kernel_init=init,
        bias_init=bias_init,
        conv_general_dilated=convolution,
        name=name,
    )


def convolution(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, with the same arguments and results, through `canonical_convolution` on a CPU.

    There a group per channel goes through `depthwise_convolution`, and other groups are convolved one by one. Other back
    ends, dilations, other layouts than NHWC and other than two spatial dimensions take `lax.conv_general_dilated` itself.

    >>> x, w = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 4))
    >>> convolution(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (1, 3, 3, 4)
    """
    plain = (
        jax.default_backend() != "cpu"
        or lhs.ndim != 4
        or batch_group_count != 1
        or math.prod([*(lhs_dilation or ()), *(rhs_dilation or ())]) != 1
        or preferred_element_type is not None
        or _layout(lhs, rhs, dimension_numbers) != _layout(lhs, rhs, _NHWC)
    )
    if plain:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    lhs, rhs = _vary_alike(lhs, rhs)
    down, right = window_strides
    if rhs.shape[2] == 1 and lhs.shape[3] == rhs.shape[3] == feature_group_count > 1:
        return depthwise_convolution(lhs, rhs, (down, right), pads)
    groups = zip(*(jnp.split(a, feature_group_count, 3) for a in (lhs, rhs)), strict=True)
    found: list[Any] = [canonical_convolution(x, kernel, (down, right), pads, precision) for x, kernel in groups]
    return found[0] if len(found) == 1 else jnp.concatenate(found, 3)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def canonical_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    precision: Any = None,
) -> jax.Array:
    """A 2-D convolution whose two backward convolutions are in the layout NHWC, HWIO, NHWC too.

    With output gradient `g`: the input gradient is the convolution of `g`, dilated by the stride, with the flipped
    kernel, its channels swapped; the kernel gradient is that of `kernel_gradient`. Reverse mode of any order works; forward
    mode (`jvp`) does not.

    Args:
      x: `[B, H, W, I]`.
      kernel: `[h, w, I, O]`, of the dtype of `x`.
      strides: of the two spatial axes.
      pads: zeros before and after, of the two spatial axes.
      precision: as in `lax.conv_general_dilated`.

    Returns:
      `[B, H', W', O]`.

    >>> canonical_convolution(jnp.ones((1, 4, 4, 2)), jnp.ones((1, 1, 2, 3)), (2, 2), ((0, 0), (0, 0))).shape
    (1, 2, 2, 3)
    """
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=_NHWC, precision=precision)


def _forward(x, kernel, strides, pads, precision):
    return canonical_convolution(x, kernel, strides, pads, precision), (x, kernel)


def _backward(strides, pads, precision, saved, g):
    x, kernel = saved
    spans = [(n - 1) * s + 1 for n, s in zip(g.shape[1:3], strides, strict=True)]  # sides of g once dilated
    sides = zip(x.shape[1:3], kernel.shape[:2], pads, spans, strict=True)
    dx = lax.conv_general_dilated(
        g,
        jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2),
        (1, 1),
        [(k - 1 - low, n + low - span) for n, k, (low, _), span in sides],
        lhs_dilation=strides,
        dimension_numbers=_NHWC,
        precision=precision,
    )
    return dx, kernel_gradient(x, g, kernel.shape[:2], strides, pads, precision)


canonical_convolution.defvjp(_forward, _backward)


def _layout(lhs: jax.Array, rhs: jax.Array, numbers: Any) -> lax.ConvDimensionNumbers:
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, numbers)


def _vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    # Inside shard_map a replicated kernel meets a batch that varies over the mesh. The cast stays outside the custom
    # rule, so that JAX itself sums the kernel's gradient over the devices, as it does for a plain convolution.
    axes = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    every = frozenset().union(*axes)
    return [a if own == every else lax.pcast(a, tuple(every - own), to="varying") for a, own in zip(arrays, axes, strict=True)]
