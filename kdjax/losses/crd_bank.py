"""The banks of contrastive representation distillation: how they begin, what is drawn from them, how they move."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.keys import example_keys
from kdjax.core.mesh import on_any_mesh, rows_of
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_number, wide
from kdjax.losses._choice import choose
from kdjax.losses._labels import class_numbers


def crd_bank(key: jax.Array, *, rows: int, width: int) -> jax.Array:
    """A bank before the first step: uniform in `(-a, a)` with `a = 1 / sqrt(width / 3)`, so that rows have length 1 on average.

    Args:
      key: a random key.
      rows: N, the training images.
      width: D, of the embeddings; the paper has 128.

    Returns:
      `[N, D]`, float32.

    Raises:
      InputError: for fewer than 1 row or column.

    Reference:
      Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> crd_bank(jax.random.key(0), rows=5, width=3).shape
    (5, 3)
    """
    for name, size in (("rows", rows), ("width", width)):
        check_option(name, size, _whole, "a whole number, 1 or more")
    a = 1 / math.sqrt(width / 3)
    return jax.random.uniform(key, (rows, width), minval=-a, maxval=a)


def crd_contrast(
    key: jax.Array,
    index: ArrayLike,
    labels: ArrayLike,
    *,
    negatives: int = 16384,
    positive: Literal["exact", "relax"] = "exact",
) -> jax.Array:
    """Draws, for each image of a batch, the bank rows it is compared with: one positive, then images of other classes.

    The negatives are uniform over all images of another class: without repeats, or with repeats where `negatives` exceeds their
    number. The draw of an image depends on the key and its number alone, however the batch is spread over devices. An image costs
    about K log K, whatever N is. Labels that are known when this is traced are sorted there, once; others in every call.

    Args:
      key: a random key, another one for each step.
      index: the numbers `[B]` of the batch's images in the data set.
      labels: class numbers `[N]` of the whole data set.
      negatives: K, how many; the paper has 16384.
      positive: `"exact"`, the image itself, or `"relax"`, any image of its class.

    Returns:
      int32 `[B, 1 + K]`, bank rows; the positive is column 0.

    Raises:
      InputError: for other shapes or types, another option, or labels of a single class.

    Reference:
      Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> crd_contrast(jax.random.key(0), jnp.array([1]), jnp.array([0, 0, 1, 0]), negatives=1).tolist()
    [[1, 2]]
    """
    index = jnp.asarray(index)
    check_shapes("B", index=index)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise InputError(f"index has type {index.dtype}: expected integer image numbers [B]")
    numbers, known = class_numbers(labels), not isinstance(labels, Tracer)
    check_option("negatives", negatives, _whole, "a whole number, 1 or more")
    check_option("positive", positive, lambda v: v in ("exact", "relax"), "'exact' or 'relax'")
    rows = numbers.shape[0]
    # NumPy: an operation of jax.numpy would be traced under jit, even on known labels.
    order, begin, count = _by_class(np, np.asarray(labels)) if known else _by_class(jnp, numbers)
    least, most = 0, rows
    if known:
        if not (count < rows).any():
            raise InputError(f"labels of {rows} images hold a single class: expected at least 2 classes")
        least, most = rows - int(count.max()), rows - int(count.min())
    order, begin, count = (jnp.asarray(x, jnp.int32) for x in (order, begin, count))

    def draw(key, start, own):
        at, among = jax.random.split(key)
        # Numbers among the images of other classes; its own class, which lies between them in the order, is stepped over.
        places = choose(at, rows - own, negatives, least=least, most=most)
        return start + jax.random.randint(among, (), 0, own), jnp.where(places < start, places, places + own)

    def drawn(key, index, order, begin, count):
        own, others = jax.vmap(draw)(example_keys(key, index), collectives.take(begin, index), collectives.take(count, index))
        first = index.astype(jnp.int32) if positive == "exact" else collectives.take(order, own)
        return jnp.concatenate([first[:, None], collectives.take(order, others)], axis=1)

    return on_any_mesh(drawn, lambda key, index, *of_all: rows_of(index))(key, index, order, begin, count)


def crd_update(
    bank: ArrayLike, embeddings: ArrayLike, index: ArrayLike, *, momentum: ArrayLike = 0.5, axis_name: AxisName = None
) -> jax.Array:
    """A bank after a step: the batch's rows move towards its embeddings and are normalised.

        u(momentum bank[index] + (1 - momentum) u(embeddings)),   u(x) = x / |x|

    No gradient flows. An image that stands twice in the batch leaves one of its two rows, it is not defined which.

    Args:
      bank: `[N, D]`.
      embeddings: `[B, D]` of the same network; only their direction counts.
      index: the numbers `[B]` of the batch's images in the data set.
      momentum: in [0, 1).
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[N, D]`, the type of `bank`; the same on all devices.

    Raises:
      InputError: for other shapes, or a momentum outside [0, 1).

    Reference:
      Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> crd_update(jnp.zeros((2, 2)), jnp.array([[0.0, 3.0]]), jnp.array([1])).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    sizes = check_shapes("N D", bank=bank)
    sizes = check_shapes("B D", sizes, embeddings=embeddings)
    check_shapes("B", sizes, index=index)
    check_number("momentum", momentum, lambda v: 0 <= v < 1, "a number in [0, 1)")
    bank, m = lax.stop_gradient(jnp.asarray(bank)), wide(momentum)
    rows = collectives.gather_replicated(unit(wide(lax.stop_gradient(embeddings)), axis=1), axis_name)
    index = collectives.gather_replicated(jnp.asarray(index), axis_name)
    moved = unit(m * wide(bank[index]) + (1 - m) * rows, axis=1)
    return bank.at[index].set(moved.astype(bank.dtype))


def _by_class(of, labels):
    """The images in the order of their classes, and for each image where its class begins there and how many it has."""
    order = of.lexsort((labels,))
    begin, end = (of.searchsorted(labels[order], labels, side=side) for side in ("left", "right"))
    return order, begin, end - begin


def _whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
