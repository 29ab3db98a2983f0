"""Mixing pairs of rows of a batch, images and labels alike."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.augment._image import box_mask
from kdjax.core.arrays import AxisName
from kdjax.core.blend import blend
from kdjax.core.check import InputError, check_option
from kdjax.core.collectives import gather, offset


def mixup(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    alpha: float | jax.Array = 1.0,
    per_row: bool = False,
    axis_name: AxisName = None,
) -> tuple[jax.Array, jax.Array]:
    """Blends each row with another: `lam * row + (1 - lam) * partner`, `lam ~ Beta(alpha, alpha)`.

    Args:
      key: random key; one a batch, the same on all devices.
      images: `[B, H, W, C]` floats.
      labels: `[B, K]`, one-hot or soft.
      alpha: shape of the Beta distribution; 0 mixes nothing.
      per_row: whether each row has a `lam` of its own; False: one a batch, as in the authors' code.
      axis_name: mapped axis that holds the rest of the batch, or None; partners come from all of it.

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
    lam = _own(_shares(key_lam, alpha, len(images), per_row, axis_name), len(images), axis_name)
    others = _partners(key_rows, len(images), axis_name)
    return blend(images, others, lam, axis_name=axis_name), blend(labels, others, lam, axis_name=axis_name)


def cutmix(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    alpha: float | jax.Array = 1.0,
    per_row: bool = False,
    axis_name: AxisName = None,
) -> tuple[jax.Array, jax.Array]:
    """Pastes a box of another row into each row; labels are mixed by the area that the box really covers.

    With `lam ~ Beta(alpha, alpha)` the box has sides `int(H sqrt(1 - lam))`, `int(W sqrt(1 - lam))` and a middle
    uniform over the pixels. It is cut at the border, and `lam` becomes 1 - covered area / (H W).

    Args:
      key: random key; one a batch, the same on all devices.
      images: `[B, H, W, C]` floats.
      labels: `[B, K]`, one-hot or soft.
      alpha: shape of the Beta distribution; 0 mixes nothing.
      per_row: whether each row has a box of its own; False: one a batch, as in the authors' code.
      axis_name: mapped axis that holds the rest of the batch, or None; partners come from all of it.

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
    rows, (height, width) = len(images), images.shape[1:3]
    key_lam, key_rows, key_y, key_x = jax.random.split(key, 4)
    cut, others = jnp.sqrt(1.0 - _shares(key_lam, alpha, rows, per_row, axis_name)), _partners(key_rows, rows, axis_name)
    tall, wide = (height * cut).astype(jnp.int32), (width * cut).astype(jnp.int32)
    top = jax.random.randint(key_y, cut.shape, 0, height) - tall // 2
    left = jax.random.randint(key_x, cut.shape, 0, width) - wide // 2
    box = (_own(side, rows, axis_name) for side in (top, left, tall, wide))
    mask = jax.vmap(lambda *box: box_mask(height, width, box))(*box)
    lam = 1.0 - jnp.mean(mask.astype(jnp.float32), axis=(1, 2, 3))
    return jnp.where(mask, gather(images, axis_name)[others], images), blend(labels, others, lam, axis_name=axis_name)


def manifold_mixup(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    alpha: float | jax.Array = 2.0,
    deepest: int = 2,
    per_row: bool = False,
    axis_name: AxisName = None,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Mixes labels, and says how a network is to mix its own maps: as `mixup`, behind a stage that is drawn for the batch.

    The stage is uniform over 0, the images themselves, to `deepest`. A net of `models.mixing_inside` takes what comes out.

    Args:
      key: random key; one a batch, the same on all devices.
      images: `[B, H, W, C]` floats.
      labels: `[B, K]`, one-hot or soft.
      alpha: shape of the Beta distribution; 0 mixes nothing.
      deepest: the last stage behind which is mixed, less than the net has.
      per_row: whether each row has a `lam` of its own; False: one a batch, as in the authors' code.
      axis_name: mapped axis that holds the rest of the batch, or None; partners come from all of it.

    Returns:
      `{"image" [B, H, W, C], "partner" int32 [B], "share" [B, deepest + 1]}` and the mixed labels `[B, K]`. Images are not mixed;
      partners are numbered over the whole batch; behind each stage stands the share of the row itself, `lam` or 1.

    Raises:
      InputError: for bad shapes, a negative alpha or stage.

    Reference:
      Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio, Manifold Mixup: Better Representations by Interpolating Hidden
      States, ICML 2019, arXiv 1806.05236.

    >>> inside, labels = manifold_mixup(jax.random.key(0), jnp.ones((2, 4, 4, 1)), jnp.eye(2))
    >>> inside["share"].shape, labels.shape
    ((2, 3), (2, 2))
    """
    _check(images, labels)
    check_option("deepest", deepest, lambda n: int(n) == n >= 0, "the number of a stage, 0 for the images")
    rows = len(images)
    key_lam, key_rows, key_stage = jax.random.split(key, 3)
    lam = _own(_shares(key_lam, alpha, rows, per_row, axis_name), rows, axis_name)
    others, stage = _partners(key_rows, rows, axis_name), jax.random.randint(key_stage, (), 0, deepest + 1)
    each = jnp.where(jnp.arange(deepest + 1) == stage, jnp.broadcast_to(lam, rows)[:, None], 1.0)
    inside = {"image": images, "partner": others, "share": each}
    return inside, blend(labels, others, lam, axis_name=axis_name)


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


def _partners(key: jax.Array, rows: int, axis_name: AxisName) -> jax.Array:
    """`partners` in the whole batch, of the rows of this device."""
    return _own(partners(key, _total(rows, axis_name)), rows, axis_name)


def _shares(key: jax.Array, alpha: float | jax.Array, rows: int, per_row: bool, axis_name: AxisName) -> jax.Array:
    """Of a row in its mixture: one for all, `[1]`, or one for each row of the whole batch."""
    check_option("alpha", alpha, lambda a: a >= 0, "a number, 0 or more")
    alpha = jnp.asarray(alpha, jnp.float32)
    shape = jnp.where(alpha > 0, alpha, 1.0)  # a Beta of shape 0 would be NaN
    drawn = jax.random.beta(key, shape, shape, (_total(rows, axis_name) if per_row else 1,))
    return jnp.where(alpha > 0, drawn, 1.0)


def _own(drawn: jax.Array, rows: int, axis_name: AxisName) -> jax.Array:
    """What is drawn for this device's rows, of numbers for the whole batch; one for all stays."""
    if axis_name is None or len(drawn) == 1:
        return drawn
    return lax.dynamic_slice_in_dim(drawn, offset(rows, axis_name), rows)


def _total(rows: int, axis_name: AxisName) -> int:
    return rows if axis_name is None else rows * lax.axis_size(axis_name)


def _check(images: jax.Array, labels: jax.Array) -> None:
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images {images.dtype}{list(images.shape)} are not accepted: expected floats [B, H, W, C]")
    if labels.ndim != 2 or labels.shape[0] != images.shape[0]:
        raise InputError(f"labels of shape {labels.shape} are not accepted: expected [{images.shape[0]}, K], one-hot")
