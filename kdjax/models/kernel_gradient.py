"""The gradient of a convolution by its kernel, over blocks of images that stay in the cache of a CPU's core.

Written out over the whole batch, this convolution streams both arrays from memory for every pixel of the kernel. Like `conv.py`
this file can go the day XLA's CPU back end is fast without it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

BYTES = 2**20  # of a block in the larger of the two arrays, as float32
LEAST = 4  # images of a block

_NHWC = ("NHWC", "HWIO", "NHWC")


def kernel_gradient(
    x: jax.Array,
    g: jax.Array,
    kernel: Sequence[int],
    strides: tuple[int, int],
    pads: tuple[tuple[int, int], tuple[int, int]],
    precision: Any = None,
) -> jax.Array:
    """The convolution of `x` with `g`, dilated by the stride, where channels serve as batch and images as channels.

    The sum over images is one over blocks of them, in float32 or wider; a batch that one block holds is convolved as a whole.
    The gradient of a kernel of one pixel is a product of two matrices, `sum_n x_n^T g_n` over all images and pixels.

    Args:
      x: input of the convolution, `[B, H, W, I]`.
      g: gradient of its output, `[B, H', W', O]`, of the dtype of `x`.
      kernel: height and width of the kernel.
      strides: of the two spatial axes.
      pads: zeros before and after, of the two spatial axes.
      precision: as in `lax.conv_general_dilated`.

    Returns:
      `[h, w, I, O]`, of the dtype of `x`.

    >>> x, g = jnp.ones((2, 4, 4, 3)), jnp.ones((2, 2, 2, 5))
    >>> kernel_gradient(x, g, (1, 1), (2, 2), ((0, 0), (0, 0))).shape
    (1, 1, 3, 5)
    """
    if tuple(kernel) == (1, 1):
        return _of_one_pixel(x, g, strides, pads, precision)
    spans = [(n - 1) * s + 1 for n, s in zip(g.shape[1:3], strides, strict=True)]  # sides of g once dilated
    sides = zip(x.shape[1:3], kernel, pads, spans, strict=True)
    around = [(low, k - 1 + span - n - low) for n, k, (low, _), span in sides]

    def one(x, g):
        return lax.conv_general_dilated(x, g, (1, 1), around, rhs_dilation=strides, dimension_numbers=_NHWC, precision=precision)

    blocks, images = shared_out(len(x), 4 * max(x.size, g.size) // max(len(x), 1))
    if blocks <= 1:
        return one(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)).transpose(1, 2, 0, 3)
    # Every `blocks`-th image makes a block, so that images spread over devices stay on them. Both arrays are brought into the
    # layout of the convolutions in front of the loop: inside of it one core alone would do that.
    x, g = (divided(a, blocks, images) for a in (x, g))
    both = lax.optimization_barrier((x.transpose(1, 4, 2, 3, 0), g.transpose(1, 2, 3, 0, 4)))
    zeros = zero_sums(x, (x.shape[-1], *kernel, g.shape[-1]))
    total, _ = lax.scan(lambda total, block: (total + one(*block).astype(zeros.dtype), None), zeros, both)
    return total.transpose(1, 2, 0, 3).astype(x.dtype)


def _of_one_pixel(x: jax.Array, g: jax.Array, strides: tuple[int, int], pads: Any, precision: Any) -> jax.Array:
    if any(low or high for low, high in pads):
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])
    ends = [(n - 1) * s + 1 for n, s in zip(g.shape[1:3], strides, strict=True)]
    x = lax.slice(x, (0, 0, 0, 0), (x.shape[0], *ends, x.shape[3]), (1, *strides, 1))
    rows, wide = (0, 1, 2), jnp.promote_types(x.dtype, jnp.float32)
    total = lax.dot_general(x, g, ((rows, rows), ((), ())), precision=precision, preferred_element_type=wide)
    return total[None, None].astype(x.dtype)


def shared_out(images: int, size: int) -> tuple[int, int]:
    """Into how many blocks a batch is cut, and how many images each holds: about `BYTES` of them, and no fewer than `LEAST`.

    Args:
      images: of the batch.
      size: of one image, in bytes.

    >>> shared_out(64, 2**17), shared_out(64, 2**10), shared_out(7, 2**20), shared_out(65, 2**18)
    ((8, 8), (1, 64), (1, 7), (13, 5))
    """
    most = max(LEAST, BYTES // max(size, 1))
    each = -(-images // max(images // most, 1))
    return -(-images // max(each, 1)), each


def divided(x: jax.Array, blocks: int, images: int) -> jax.Array:
    """`[B, ...]` to `[images, blocks, ...]`, with images of zeros at the end where the blocks do not divide the batch.

    >>> divided(jnp.arange(1, 6), 2, 3).tolist()
    [[1, 2], [3, 4], [5, 0]]
    """
    missing = blocks * images - len(x)
    x = jnp.pad(x, [(0, missing), *[(0, 0)] * (x.ndim - 1)]) if missing else x
    return x.reshape(images, blocks, *x.shape[1:])


def zero_sums(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What sums over the images of `x` begin with, float32 or wider.

    >>> zero_sums(jnp.ones(3, jnp.bfloat16), (2,)).dtype
    dtype('float32')
    """
    zeros = jnp.zeros(shape, jnp.promote_types(x.dtype, jnp.float32))
    varying = jax.typeof(x).manual_axis_type.varying  # inside shard_map a carry keeps its type
    return lax.pcast(zeros, tuple(varying), to="varying") if varying else zeros
