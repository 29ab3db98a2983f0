"""Mixing pairs of rows of a batch, images and labels alike."""

import jax
import jax.numpy as jnp

from kdjax.augment._image import box_mask
from kdjax.core.check import InputError, check_option


def mixup(key: jax.Array, images: jax.Array, labels: jax.Array, *, alpha: float | jax.Array = 1.0) -> tuple[jax.Array, jax.Array]:
    """Blends each row with another: `lam * row + (1 - lam) * partner`, one `lam ~ Beta(alpha, alpha)` a batch.

    Args:
      key: random key; one a batch.
      images: `[B, H, W, C]` floats.
      labels: `[B, K]`, one-hot or soft.
      alpha: shape of the Beta distribution; 0 mixes nothing.

    Returns:
      The mixed images and labels, of the same shapes.

    Raises:
      InputError: for bad shapes or a negative alpha.

    Reference:
      Zhang, Cisse, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412.

    >>> _, labels = mixup(jax.random.key(0), jnp.ones((2, 4, 4, 1)), jnp.eye(2))
    >>> labels.sum(1).round(5).tolist()
    [1.0, 1.0]
    """
    _check(images, labels)
    key_lam, key_rows = jax.random.split(key)
    lam, rows = _share(key_lam, alpha), partners(key_rows, images.shape[0])
    return lam * images + (1.0 - lam) * images[rows], lam * labels + (1.0 - lam) * labels[rows]


def cutmix(key: jax.Array, images: jax.Array, labels: jax.Array, *, alpha: float | jax.Array = 1.0) -> tuple[jax.Array, jax.Array]:
    """Pastes a box of another row into each row; labels are mixed by the area that the box really covers.

    With `lam ~ Beta(alpha, alpha)` the box has sides `int(H sqrt(1 - lam))`, `int(W sqrt(1 - lam))` and a middle
    uniform over the pixels. It is cut at the border, and `lam` becomes 1 - covered area / (H W). All rows share it.

    Args:
      key: random key; one a batch.
      images: `[B, H, W, C]` floats.
      labels: `[B, K]`, one-hot or soft.
      alpha: shape of the Beta distribution; 0 mixes nothing.

    Returns:
      The mixed images and labels, of the same shapes.

    Raises:
      InputError: for bad shapes or a negative alpha.

    Reference:
      Yun, Han, Oh, Chun, Choe, Yoo, CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
      Features, ICCV 2019, arXiv 1905.04899. Differs from the authors' code in boxes of odd side, which there come out
      one pixel smaller.

    >>> images, _ = cutmix(jax.random.key(0), jnp.ones((2, 4, 4, 1)), jnp.eye(2))
    >>> images.shape
    (2, 4, 4, 1)
    """
    _check(images, labels)
    height, width = images.shape[1:3]
    key_lam, key_rows, key_y, key_x = jax.random.split(key, 4)
    cut, rows = jnp.sqrt(1.0 - _share(key_lam, alpha)), partners(key_rows, images.shape[0])
    tall, wide = (height * cut).astype(jnp.int32), (width * cut).astype(jnp.int32)
    top = jax.random.randint(key_y, (), 0, height) - tall // 2
    left = jax.random.randint(key_x, (), 0, width) - wide // 2
    mask = box_mask(height, width, (top, left, tall, wide))
    lam = 1.0 - jnp.mean(mask.astype(jnp.float32))
    return jnp.where(mask[None], images[rows], images), lam * labels + (1.0 - lam) * labels[rows]


def partners(key: jax.Array, rows: int) -> jax.Array:
    """A random order of the rows: row `i` is mixed with row `partners[i]`, which may be itself.

    Args:
      key: random key; `mixup` and `cutmix` draw theirs from their own key.
      rows: B, the rows of the batch.

    Returns:
      `[B]` int32, a permutation of 0 to B - 1.

    >>> sorted(partners(jax.random.key(0), 3).tolist())
    [0, 1, 2]
    """
    return jax.random.permutation(key, rows)


def _share(key: jax.Array, alpha: float | jax.Array) -> jax.Array:
    check_option("alpha", alpha, lambda a: a >= 0, "a number, 0 or more")
    alpha = jnp.asarray(alpha, jnp.float32)
    shape = jnp.where(alpha > 0, alpha, 1.0)  # a Beta of shape 0 would be NaN
    return jnp.where(alpha > 0, jax.random.beta(key, shape, shape), 1.0)


def _check(images: jax.Array, labels: jax.Array) -> None:
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images {images.dtype}{list(images.shape)} are not accepted: expected floats [B, H, W, C]")
    if labels.ndim != 2 or labels.shape[0] != images.shape[0]:
        raise InputError(f"labels of shape {labels.shape} are not accepted: expected [{images.shape[0]}, K], one-hot")
