"""Losses of a generator and a critic that play against each other; scores are logits, above 0 for what seems real."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import wide

Game = Literal["non_saturating", "hinge", "least_squares", "wasserstein"]
_GAMES = ("non_saturating", "hinge", "least_squares", "wasserstein")


def gan_generator(fake_scores: ArrayLike, *, kind: Game) -> jax.Array:
    """What a generator descends, so that the critic takes its images for real ones.

        "non_saturating"  softplus(-f)        "hinge", "wasserstein"  -f        "least_squares"  (f - 1)^2

    Args:
      fake_scores: f, the critic's scores of made images: `[B]`, or `[B, ...]` of patches, which are averaged.
      kind: the game.

    Returns:
      `[B]`.

    Raises:
      InputError: for scores without a batch, or an unknown kind.

    Reference:
      "non_saturating": Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, arXiv 1406.2661. "hinge": Lim, Ye, "Geometric
      GAN", 2017, arXiv 1705.02894. "least_squares": Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017,
      arXiv 1611.04076, without its factor 1/2. "wasserstein": Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017,
      arXiv 1701.07875.

    >>> gan_generator(jnp.array([3.0, -1.0]), kind="least_squares")
    Array([4., 4.], dtype=float32)
    """
    check_shapes("B ...", fake_scores=fake_scores)
    _check_kind(kind)
    f = wide(fake_scores)
    if kind == "non_saturating":
        return _per_image(jax.nn.softplus(-f))
    return _per_image((f - 1) ** 2 if kind == "least_squares" else -f)


def gan_critic(real_scores: ArrayLike, fake_scores: ArrayLike, *, kind: Game) -> jax.Array:
    """What a critic descends, so that it tells real images from made ones: the sum of both sides.

        "non_saturating"  softplus(-r) + softplus(f)          "hinge"        max(1 - r, 0) + max(1 + f, 0)
        "least_squares"   (r - 1)^2 + f^2                     "wasserstein"  f - r

    Args:
      real_scores: r, the critic's scores of real images: `[B]`, or `[B, ...]` of patches, which are averaged.
      fake_scores: f, of as many made ones.
      kind: the game; `"wasserstein"` asks for `gradient_penalty` beside it.

    Returns:
      `[B]`.

    Raises:
      InputError: for scores without a batch, unequal shapes, or an unknown kind.

    Reference:
      As of `gan_generator`. Some codes halve the sum.

    >>> gan_critic(jnp.array([2.0, 0.0]), jnp.array([-3.0, 0.5]), kind="hinge")
    Array([0. , 2.5], dtype=float32)
    """
    check_shapes("B ...", real_scores=real_scores, fake_scores=fake_scores)
    _check_kind(kind)
    r, f = wide(real_scores), wide(fake_scores)
    if kind == "non_saturating":
        return _per_image(jax.nn.softplus(-r) + jax.nn.softplus(f))
    if kind == "hinge":
        return _per_image(jax.nn.relu(1 - r) + jax.nn.relu(1 + f))
    return _per_image((r - 1) ** 2 + f**2 if kind == "least_squares" else f - r)


def _check_kind(kind: Any) -> None:
    check_option("kind", kind, lambda v: v in _GAMES, ", ".join(map(repr, _GAMES)))


def _per_image(x: jax.Array) -> jax.Array:
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
