"""Networks whose kernels are quantised: kept in bfloat16 or int8, computed with in float32."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from kdjax.core import Net
from kdjax.core.check import check_option
from kdjax.core.node import Node
from kdjax.core.tree_paths import path_name

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS = ("float32", "bfloat16", "int8")


class Int8(Node):
    """A kernel as whole numbers times a scale for each output channel.

    Attributes:
      values: int8, from -127 to 127, of the kernel's shape.
      scales: float32, of the kernel's shape with 1 in the place of every axis but the last one.
    """

    values: jax.Array
    scales: jax.Array


def quantise(params: Any, precision: Precision) -> Any:
    """The parameters of a net with its kernels quantised.

    Kernels are arrays of two axes or more, output channels last. As int8 each is `round(w / s)`, `s = max |w| / 127` over all of an
    output channel: symmetric, without an offset. Biases, batch norms and the linear layer `classifier`, which methods also read by
    itself, stay as they are, and so does everything with `"float32"`.

    Args:
      params: of a net.
      precision: of the kernels.

    Raises:
      InputError: for another precision.

    Reference: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper", 2018,
    arXiv 1806.08342 (weights by output channel, symmetric).

    >>> quantise({"kernel": jnp.array([[1.0, -0.5], [0.5, 0.0]])}, "int8")["kernel"].values.tolist()
    [[127, -127], [64, 0]]
    """
    check_option("precision", precision, lambda p: p in PRECISIONS, " or ".join(map(repr, PRECISIONS)))

    def of(path, w):
        if precision == "float32" or jnp.ndim(w) < 2 or "classifier" in path_name(path).split("/"):
            return w
        if precision == "bfloat16":
            return jnp.asarray(w, jnp.bfloat16)
        scales = jnp.max(jnp.abs(w), range(jnp.ndim(w) - 1), keepdims=True) / 127
        return Int8(jnp.round(w / jnp.where(scales > 0, scales, 1)).astype(jnp.int8), scales)

    return jax.tree_util.tree_map_with_path(of, params)


def dequantise(params: Any) -> Any:
    """The parameters as a net computes with them, float32, from what `quantise` gives.

    >>> dequantise(quantise({"kernel": jnp.array([[1.0, -2.0]])}, "int8"))["kernel"].tolist()
    [[1.0, -2.0]]
    """

    def of(w):
        if isinstance(w, Int8):
            return w.values * w.scales
        return w.astype(jnp.float32) if w.dtype == jnp.bfloat16 else w

    return jax.tree.map(of, params, is_leaf=lambda w: isinstance(w, Int8))


def quantised(net: Net, precision: Precision) -> Net:
    """A Net whose params are those of another as `quantise` gives them; each pass dequantises them.

    Args:
      net: the other one.
      precision: of the kernels; `"float32"` gives the net itself.

    Raises:
      InputError: for another precision.

    >>> from kdjax.models.conv_net import conv_net
    >>> params, _ = quantised(conv_net((4,)), "int8").init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> params["stage1_conv"]["kernel"].values.dtype
    dtype('int8')
    """
    quantise({}, precision)
    if precision == "float32":
        return net

    def init(key, x):
        params, stats = net.init(key, x)
        return quantise(params, precision), stats

    def apply(params, stats, x, *, train, key=None):
        return net.apply(dequantise(params), stats, x, train=train, key=key)

    return Net(init, apply)


def megabytes(params: Any) -> float:
    """What the arrays of a tree, or their shapes, take: millions of bytes.

    >>> megabytes({"kernel": jnp.zeros((1000, 500))})
    2.0
    """
    return sum(w.size * w.dtype.itemsize for w in jax.tree.leaves(params)) / 1e6
