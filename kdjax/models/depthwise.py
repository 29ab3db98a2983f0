"""Convolutions of each channel with a kernel of its own, as sums of shifted products: fast on XLA's CPU back end.

That back end runs a convolution with a group per channel, and both of its gradients, in slow loops. Like `conv.py` this file
can go the day it does not.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.models.kernel_gradient import divided, shared_out, zero_sums

Pads = tuple[tuple[int, int], tuple[int, int]]


@partial(jax.jit, static_argnums=(2, 3))  # where it is called outside of a program: one for each shape, not one for each slice
def depthwise_convolution(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """A 2-D convolution with a group per channel: the sum over the pixels of the kernel of the shifted, scaled input.

    The input gradient is the same of the output gradient, dilated by the stride, with the flipped kernel; the kernel gradient is
    the sum over images and positions of the output gradient times each shifted input, all pixels of the kernel in one pass over
    blocks of images that stay in the cache. Sums are float32 or wider. Reverse mode of any order works; forward mode (`jvp`) does
    not.

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
    return _input_gradient(g, kernel, x.shape, strides, pads), _kernel_gradient(x, g, kernel.shape, strides, pads)


_convolution.defvjp(_forward, _backward)


def _input_gradient(g: jax.Array, kernel: jax.Array, shape: tuple[int, ...], strides: tuple[int, int], pads: Pads) -> jax.Array:
    spans = [(n - 1) * s + 1 for n, s in zip(g.shape[1:3], strides, strict=True)]  # sides of g once dilated
    sides = zip(shape[1:3], kernel.shape[:2], pads, spans, strict=True)
    around = [(k - 1 - low, n + low - span) for n, k, (low, _), span in sides]
    return _summed(_padded(g, around, strides), jnp.flip(kernel, (0, 1)), (1, 1))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
@partial(jax.jit, static_argnums=(2, 3, 4))  # layers of one shape share it
def _kernel_gradient(x: jax.Array, g: jax.Array, shape: tuple[int, ...], strides: tuple[int, int], pads: Pads) -> jax.Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def one(x, g):
        """The sums of one block: nine for a kernel of 3x3, each of `[C]`, in one loop over both arrays."""
        g = g.astype(wide)
        products = [part.astype(wide) * g for part in _shifted(x, shape[:2], strides, g.shape[1:3])]
        zeros = [jnp.zeros((), wide) for _ in products]
        return jnp.stack(lax.reduce(products, zeros, lambda a, b: [u + v for u, v in zip(a, b, strict=True)], (0, 1, 2)))

    blocks, images = shared_out(len(x), 4 * max(x.size, g.size) // max(len(x), 1))
    x = _padded(x, pads)
    if blocks <= 1:
        total = one(x, g)
    else:
        both = [divided(a, blocks, images).swapaxes(0, 1) for a in (x, g)]
        total, _ = lax.scan(lambda total, block: (total + one(*block), None), zero_sums(x, (shape[0] * shape[1], shape[3])), both)
    return total.reshape(shape).astype(x.dtype)


def _kernel_gradient_forward(x, g, shape, strides, pads):
    return _kernel_gradient(x, g, shape, strides, pads), (x, g)


def _kernel_gradient_backward(shape, strides, pads, saved, kernel):
    x, g = saved
    return _input_gradient(g, kernel, x.shape, strides, pads), _convolution(x, kernel, strides, pads)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _padded(x: jax.Array, pads, strides: tuple[int, int] = (1, 1)) -> jax.Array:
    """With zeros around, and `stride - 1` of them between; not made anew for each pixel of a kernel."""
    inside = [(low, high, stride - 1) for (low, high), stride in zip(pads, strides, strict=True)]
    return lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inside, (0, 0, 0)]))


def _shifted(x: jax.Array, kernel: tuple[int, ...], strides: tuple[int, int], out: tuple[int, ...]) -> Iterator[jax.Array]:
    """What each pixel of a kernel meets, `[B, H', W', C]`, row by row."""
    (height, width), (down, right) = out, strides
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            ends = (x.shape[0], i + (height - 1) * down + 1, j + (width - 1) * right + 1, x.shape[3])
            yield lax.slice(x, (0, i, j, 0), ends, (1, down, right, 1))


@partial(jax.jit, static_argnums=2)
def _summed(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True))
    wide = jnp.promote_types(x.dtype, jnp.float32)
    scales = kernel.astype(wide).reshape(-1, 1, 1, 1, x.shape[3])
    parts = zip(_shifted(x, kernel.shape[:2], strides, out), scales, strict=True)
    products: list[jax.Array] = [part.astype(wide) * scale for part, scale in parts]
    return sum(products[1:], products[0]).astype(x.dtype)
