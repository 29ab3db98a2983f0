"""Images that are changed as little as possible and as badly as possible, by the gradient of the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.check import check_option

Loss = Callable[[jax.Array], jax.Array]


def fgsm(loss: Loss, images: jax.Array, *, epsilon: float) -> jax.Array:
    """One step up the loss, as long in every number: the fast gradient sign method.

        clip(x + epsilon sign(d loss / d x), 0, 1)

    Args:
      loss: `images -> [B]`, of a net in evaluation mode.
      images: `[B, ...]` floats in [0, 1].
      epsilon: the most that a number changes, 0 or more.

    Returns:
      The changed images.

    Raises:
      InputError: for a negative epsilon.

    Reference:
      Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, arXiv:1412.6572.

    >>> fgsm(lambda x: -x[:, 0], jnp.array([[0.5, 0.5]]), epsilon=0.25).tolist()
    [[0.25, 0.5]]
    """
    check_option("epsilon", epsilon, lambda e: e >= 0, "a number, 0 or more")
    return jnp.clip(images + epsilon * _uphill(loss, images), 0.0, 1.0)


def pgd(loss: Loss, images: jax.Array, key: jax.Array, *, epsilon: float, rate: float | None = None, steps: int = 10) -> jax.Array:
    """Several steps up the loss from a random start, each back into a box around the image: projected gradient descent.

        x <- clip(x + rate sign(d loss / d x), to [x_0 - epsilon, x_0 + epsilon] and [0, 1])

    Args:
      loss: `images -> [B]`, of a net in evaluation mode.
      images: `[B, ...]` floats in [0, 1].
      key: of the start, uniform in the box.
      epsilon: the most that a number changes, 0 or more.
      rate: of a step, 0 or more; None: a quarter of epsilon, as the paper's 2 of 8.
      steps: 1 or more.

    Returns:
      The changed images.

    Raises:
      InputError: for an option out of range.

    Reference:
      Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018,
      arXiv:1706.06083.

    >>> pgd(lambda x: x[:, 0], jnp.array([[0.5]]), jax.random.key(0), epsilon=0.25).tolist()
    [[0.75]]
    """
    rate = epsilon / 4 if rate is None else rate
    check_option("epsilon", epsilon, lambda e: e >= 0, "a number, 0 or more")
    check_option("rate", rate, lambda r: r >= 0, "a number, 0 or more")
    check_option("steps", steps, lambda n: n >= 1, "1 or more")
    low, high = jnp.maximum(images - epsilon, 0.0), jnp.minimum(images + epsilon, 1.0)
    first = jnp.clip(images + epsilon * jax.random.uniform(key, images.shape, images.dtype, -1.0, 1.0), low, high)
    return lax.fori_loop(0, steps, lambda _, x: jnp.clip(x + rate * _uphill(loss, x), low, high), first)


def _uphill(loss: Loss, images: jax.Array) -> jax.Array:
    return jnp.sign(jax.grad(lambda x: jnp.sum(loss(x)))(images))
