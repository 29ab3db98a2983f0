"""Penalties of a gradient, which keep critics and generators smooth. They are differentiated once more, by what is trained.

Reverse mode goes through reverse mode here: nets whose convolutions have no forward mode can be given.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError
from kdjax.core.keys import row_normal
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, wide
from kdjax.losses._geometry import root


def r1(critic: Callable[[jax.Array], jax.Array], images: ArrayLike) -> jax.Array:
    """The squared length of the critic's gradient at real images.

        |d critic(x) / d x|^2

    Without a factor: a gamma of 10 stands for a weight of 5, and where it is taken every k-th step alone, for 5 k.

    Args:
      critic: images `[B, ...]` to scores `[B]`, or `[B, ...]` of patches, which are added up.
      images: real ones, `[B, ...]`.

    Returns:
      `[B]`, at least 0.

    Raises:
      InputError: for images without a batch, or scores of another batch.

    Reference:
      Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018, arXiv 1801.04406.

    >>> r1(lambda x: jnp.sum(x**2, axis=1), jnp.array([[1.0, 2.0], [0.0, 0.0]]))
    Array([20.,  0.], dtype=float32)
    """
    check_shapes("B ...", images=images)
    return _squares(_gradient(critic, wide(images)))


def gradient_penalty(
    critic: Callable[[jax.Array], jax.Array], real: ArrayLike, fake: ArrayLike, mix: ArrayLike, *, target: ArrayLike = 1.0
) -> jax.Array:
    """How far the length of the critic's gradient between real and made images is from what it should be.

        (|d critic(x) / d x|_2 - target)^2   at x = mix real + (1 - mix) fake

    No gradient goes to the images. Where the critic is flat the penalty is target^2, without a gradient.

    Args:
      critic: images `[B, ...]` to scores `[B]`, or `[B, ...]` of patches, which are added up.
      real: real images `[B, ...]`.
      fake: made ones, of the same shape.
      mix: shares of the real images `[B]`, drawn evenly from 0 to 1.
      target: the length, a number of at least 0; 1 in the paper.

    Returns:
      `[B]`, at least 0; the paper's weight is 10.

    Raises:
      InputError: for other shapes, scores of another batch, or a target below 0.

    Reference:
      Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", NIPS 2017, arXiv 1704.00028.

    >>> x = jnp.zeros((1, 2))
    >>> gradient_penalty(lambda x: x @ jnp.array([3.0, 4.0]), x, x, jnp.array([0.5]))
    Array([16.], dtype=float32)
    """
    sizes = check_shapes("B ...", real=real, fake=fake)
    check_shapes("B", {"B": sizes["B"]}, mix=mix)
    check_number("target", target, lambda v: 0 <= v < math.inf, "a finite number of at least 0")
    share = wide(mix).reshape(-1, *(1,) * (np.ndim(real) - 1))
    between = lax.stop_gradient(share * wide(real) + (1 - share) * wide(fake))
    return (root(_squares(_gradient(critic, between))) - wide(target)) ** 2


def path_length(
    generator: Callable[[jax.Array], jax.Array],
    latents: ArrayLike,
    key: jax.Array,
    *,
    running: ArrayLike,
    decay: ArrayLike = 0.01,
    axis_name: AxisName = None,
) -> tuple[jax.Array, jax.Array]:
    """How unevenly steps of the latents move the images: the variance of the generator's slope, about a moving mean.

        l_i = |d (y_i . generator(w_i) / sqrt(H W)) / d w_i|,   y ~ N(0, I)
        running' = running + decay (mean l - running),   mean over the batch of (l_i - running')^2

    Args:
      generator: latents to images `[B, H, W, C]`.
      latents: of the space that is to be even, `[B, D]`; `[B, L, D]` gives each of L layers its own, whose squared lengths are
        averaged.
      key: of the noise y, which does not depend on how rows are spread over devices.
      running: the moving mean of l, a scalar, 0 at first.
      decay: the weight of the newest, in [0, 1].
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0, and `running'`, without a gradient. The paper's weight is 2, taken every 4th step alone.

    Raises:
      InputError: for other shapes, or a decay outside [0, 1].

    Reference:
      Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
      arXiv 1912.04958. As in the authors' code the gradient reaches `running'` too, through its small share of this batch.

    >>> value, running = path_length(lambda w: 0 * w.reshape(2, 1, 1, 3), jnp.ones((2, 3)), jax.random.key(0), running=1.0)
    >>> print(f"{value:.4f} {running:.4f}")  # (0 - 0.99)^2
    0.9801 0.9900
    """
    check_shapes("B ... D", latents=latents)
    check_number("decay", decay, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    check_number("running", running, lambda v: True, "a number")
    w = wide(latents)
    if w.ndim > 3:
        raise InputError(f"latents has shape {w.shape}: expected [B, D] or [B, L, D]")

    def along(w):
        images = wide(generator(w))
        check_shapes("B H W C", {"B": (w.shape[0], "latents", w.shape)}, images=images)
        noise = row_normal(key, images.shape[0], images.shape[1:], axis_name)
        return jnp.sum(images * noise) / math.sqrt(images.shape[1] * images.shape[2])

    layers = w.shape[1] if w.ndim == 3 else 1
    lengths = root(_squares(jax.grad(along)(w)) / layers)
    before = lax.stop_gradient(wide(running))
    after = before + wide(decay) * (collectives.mean(lengths, axis_name=axis_name) - before)
    return collectives.mean((lengths - after) ** 2, axis_name=axis_name), lax.stop_gradient(after)


def _gradient(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    def scored(x):
        scores = wide(critic(x))
        check_shapes("B ...", {"B": (x.shape[0], "images", x.shape)}, scores=scores)
        return jnp.sum(scores)

    return jax.grad(scored)(x)


def _squares(gradient: jax.Array) -> jax.Array:
    return jnp.sum(gradient**2, axis=tuple(range(1, gradient.ndim)))
