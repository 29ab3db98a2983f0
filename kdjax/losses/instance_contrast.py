"""Contrastive losses that are given unit rows: of all views of a batch with labels, and of a batch beside a bank of earlier images.

Rows are taken as they are. Scale them to length 1 first, as the heads of these methods do (`kdjax.core.unit`).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_positive, wide
from kdjax.losses._labels import class_numbers


def supervised_contrast(
    features: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 0.07,
    base_temperature: ArrayLike = 0.07,
    anchors: Literal["all", "first"] = "all",
    axis_name: AxisName = None,
) -> jax.Array:
    """How well a view finds those of its class among all views of all images, each of them on its own.

        T / T_base * mean over positives j of [ -x_i.x_j / T + log(sum over k != i of exp(x_i.x_k / T)) ]

    The positives of a view are the other views of images with its label; without labels those of its own image, whose logarithms
    are averaged, where `nt_xent` has their sum inside one. The gradient reaches every row. A view without a positive counts 0.

    Args:
      features: `[B, V, D]`, rows of length 1, V views of each image.
      labels: class numbers `[B]`, or None: an image is its own class.
      temperature: T, a number above 0; the paper's code has 0.07.
      base_temperature: T_base, a number above 0; there too.
      anchors: which views look for others: `"all"`, or the `"first"` of each image.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[V, B]`, or `[1, B]` of the first views, of this device's images.

    Raises:
      InputError: for other shapes, labels that are no integers, a temperature that is not above 0, or unknown anchors.

    Reference:
      Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan, "Supervised Contrastive Learning", NeurIPS 2020,
      arXiv 2004.11362 (the form with the sum outside of the logarithm).

    >>> rows = jnp.broadcast_to(jnp.eye(2)[:, None], (2, 2, 2))  # two images, each with two equal views
    >>> found = supervised_contrast(rows, temperature=1.0, base_temperature=1.0)
    >>> print(found.shape, f"{found[0, 0]:.4f}")  # log(e + 2) - 1
    (2, 2) 0.5514
    """
    sizes = check_shapes("B V D", features=features)
    check_positive("temperature", temperature)
    check_positive("base_temperature", base_temperature)
    check_option("anchors", anchors, lambda v: v in ("all", "first"), "'all' or 'first'")
    t, x = wide(temperature), wide(features)
    rows, views, _ = x.shape
    image = collectives.offset(rows, axis_name) + jnp.arange(rows)
    named = image if labels is None else class_numbers(labels, {"B": sizes["B"]})
    everyone, classes = collectives.gather(x, axis_name), collectives.gather(named, axis_name)

    looking = x if anchors == "all" else x[:, :1]
    scores = jnp.einsum("bvd,cud->vbcu", looking, everyone, precision="highest") / t
    places = jnp.arange(len(everyone))
    same_image = image[:, None] == places[None]
    same_view = np.arange(looking.shape[1])[:, None] == np.arange(views)[None]
    itself = same_view[:, None, None, :] & same_image[None, :, :, None]
    positive = (named[:, None] == classes[None])[None, :, :, None] & ~itself
    among = jax.nn.logsumexp(jnp.where(itself, -jnp.inf, scores), axis=(2, 3))
    count = jnp.sum(positive, axis=(2, 3))
    near = jnp.sum(jnp.where(positive, scores, 0.0), axis=(2, 3)) / jnp.maximum(count, 1).astype(scores.dtype)
    return jnp.where(count > 0, t / wide(base_temperature) * (among - near), 0.0)


def image_contrast(
    local: ArrayLike,
    whole: ArrayLike,
    *,
    temperature: ArrayLike = 0.2,
    current: int | ArrayLike,
    where: ArrayLike | None = None,
    axis_name: AxisName = None,
) -> jax.Array:
    """How well a crop of each image finds the whole of it among the images of this batch and those of a bank.

        mean over the current rows of l_i + mean over the cached rows of l_i
        l_i = -log(exp(x_i.y_i / T) / sum over all rows j of exp(x_i.y_j / T)),   x local, y whole, without a gradient

    The two means are added, so that few current rows weigh as much as many cached ones, and a mean over none is 0: while the bank
    is empty the current rows are all. It tells new images apart from one another and from earlier ones.

    Args:
      local: `[N, D]`, rows of length 1 of a small crop: those of this batch, and of the bank.
      whole: `[N, D]`, of the same images less cropped.
      temperature: T, a number above 0; CMI has 0.1 or 0.2.
      current: how many of the first rows are of this batch; or which, bool `[N]`.
      where: bool `[N]`, the rows that count, for a bank that is not full (`kdjax.core.Queue.filled`): the others are neither
        looked for nor found, whatever they hold. None: all count.
      axis_name: mapped axis that holds the rest of the current rows, or None. The bank is the same on all devices; `current` is
        then a number.

    Returns:
      A scalar, at least 0, in nats.

    Raises:
      InputError: for other or unequal shapes, a temperature that is not above 0, or another `current` or `where`.

    Reference:
      Fang, Song, Wang, Shen, Wang, Song, "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
      arXiv 2105.08584.

    >>> rows = jnp.eye(3)  # one image of this batch, and two of the bank
    >>> print(f"{image_contrast(rows, rows, temperature=1.0, current=1):.4f}")  # twice log(1 + 2 / e)
    1.1029
    """
    sizes = check_shapes("N D", local=local, whole=whole)
    check_positive("temperature", temperature)
    rows = sizes["N"][0]
    now = _current(current, rows, axis_name)
    kept = jnp.ones(rows, bool) if where is None else _marks("where", where, rows)
    x = jnp.where(kept[:, None], wide(local), 0.0)
    y = lax.stop_gradient(jnp.where(kept[:, None], wide(whole), 0.0))
    if axis_name is None:
        place, found, there = jnp.arange(rows), collectives.gather(y), collectives.gather(kept)
    else:
        own = int(np.asarray(current))
        # The bank, which every device holds, is looked at once.
        found, there = (jnp.concatenate([collectives.gather(a[:own], axis_name), a[own:]]) for a in (y, kept))
        number = jnp.arange(rows)
        place = number + jnp.where(number < own, collectives.offset(own, axis_name), len(found) - rows)
    itself = place[:, None] == jnp.arange(len(found))[None]
    scores = jnp.einsum("nd,md->nm", x, found, precision="highest") / wide(temperature)
    # A row that does not count finds itself: its softmax is one of numbers, and not of -inf alone.
    log_p = jax.nn.log_softmax(jnp.where(itself | there[None], scores, -jnp.inf))
    each = -jnp.sum(jnp.where(itself, log_p, 0.0), axis=1)
    return collectives.mean(each, kept & now, axis_name) + collectives.mean(each, kept & ~now, axis_name)


def _current(current: Any, rows: int, axis_name: AxisName) -> jax.Array:
    if np.ndim(current):
        if axis_name is not None:
            raise InputError(f"current has shape {np.shape(current)}: expected a number of rows beside an axis_name")
        return _marks("current", current, rows)
    check_option(
        "current", current, lambda v: not isinstance(v, bool) and 0 <= int(v) == v <= rows, f"0 to {rows}, or bool[{rows}]"
    )
    return jnp.arange(rows) < current


def _marks(name: str, given: Any, rows: int) -> jax.Array:
    marks = jnp.asarray(given)
    if marks.shape != (rows,) or marks.dtype != bool:
        raise InputError(f"{name} is {marks.dtype}{list(marks.shape)}: expected bool[{rows}], one a row")
    return marks
