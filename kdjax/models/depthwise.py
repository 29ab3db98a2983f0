"""Convolutions of each channel with a kernel of its own, as sums of shifted products: fast on XLA's CPU back end.

That back end runs a convolution with a group per channel, and both of its gradients, in slow loops. Like `conv.py` this file
can go the day it does not.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], tuple[int, int]]


@partial(jax.jit, static_argnums=(2, 3))  # where it is called outside of a program: one for each shape, not one for each slice
def depthwise_convolution(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """A 2-D convolution with a group per channel: the sum over the pixels of the kernel of the shifted, scaled input.

    The input gradient is the same of the output gradient, dilated by the stride, with the flipped kernel; the kernel gradient is
    the sum over images and positions of the output gradient times each shifted input. Sums are float32. Reverse mode of any
    order works; forward mode (`jvp`) does not.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[h, w, 1, C]`.
      strides: of the two spatial axes.
      pads: zeros before and after, of the two spatial axes.

    Returns:
      `[B, H', W', C]`, of the dtype of `x`.

    >>> depthwise_convolution(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)), (2, 2), ((1, 1), (1, 1)))[0, :, :, 0].tolist()
    [[4.0, 6.0], [6.0, 9.0]]
    """
    return _convolution(x, kernel, strides, pads)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    return _summed(_padded(x, pads), kernel, strides)


def _forward(x, kernel, strides, pads):
    return _convolution(x, kernel, strides, pads), (x, kernel)


def _backward(strides, pads, saved, g):
    x, kernel = saved
    spans = [(n - 1) * s + 1 for n, s in zip(g.shape[1:3], strides, strict=True)]  # sides of g once dilated
    sides = zip(x.shape[1:3], kernel.shape[:2], pads, spans, strict=True)
    around = [(k - 1 - low, n + low - span) for n, k, (low, _), span in sides]
    dx = _summed(_padded(g, around, strides), jnp.flip(kernel, (0, 1)), (1, 1))
    parts = _shifted(_padded(x, pads), kernel.shape[:2], strides, g.shape[1:3])
    dkernel = jnp.stack([jnp.sum(part * g, (0, 1, 2), dtype=jnp.float32) for part in parts])
    return dx, dkernel.reshape(kernel.shape).astype(kernel.dtype)


_convolution.defvjp(_forward, _backward)


def _padded(x: jax.Array, pads, strides: tuple[int, int] = (1, 1)) -> jax.Array:
    """With zeros around, and `stride - 1` of them between."""
    inside = [(low, high, stride - 1) for (low, high), stride in zip(pads, strides, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inside, (0, 0, 0)])


def _shifted(x: jax.Array, kernel: tuple[int, ...], strides: tuple[int, int], out: tuple[int, ...]) -> Iterator[jax.Array]:
    """What each pixel of a kernel meets, `[B, H', W', C]`, row by row."""
    (height, width), (down, right) = out, strides
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            ends = (x.shape[0], i + (height - 1) * down + 1, j + (width - 1) * right + 1, x.shape[3])
            yield lax.slice(x, (0, i, j, 0), ends, (1, down, right, 1))


def _summed(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True))
    scales = kernel.astype(jnp.float32).reshape(-1, 1, 1, 1, x.shape[3])
    parts = zip(_shifted(x, kernel.shape[:2], strides, out), scales, strict=True)
    products: list[jax.Array] = [part.astype(jnp.float32) * scale for part, scale in parts]
    return sum(products[1:], products[0]).astype(x.dtype)
