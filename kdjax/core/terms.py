"""Named loss terms to one scalar."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from kdjax.core.arrays import AxisName, Weight
from kdjax.core.check import InputError, check_option
from kdjax.core.collectives import mean


def weighted_sum(
    terms: Mapping[str, jax.Array], weights: Mapping[str, Any], *, micro: int = 1, where_weight: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sums the means of named terms, each times its weight, and keeps the unweighted means for the log.

    Args:
      terms: per name an array `[B]`, or `[B, T]` of positions, or a scalar from a loss whose rows see each other.
      weights: factors by name; a name without one counts once.
      micro: slices the batch is accumulated over; above 1 a scalar term is refused, as its rows must meet in one slice.
      where_weight: that of `with_label_weights`, for the terms of its shape; None: everything is there.

    Returns:
      `(scalar, {name: mean})`.

    Raises:
      InputError: for a factor below 0 or not finite, and where all are 0, as far as they are no traced numbers.

    >>> float(weighted_sum({"a": jnp.array([1.0, 3.0]), "b": jnp.float32(5.0)}, {"a": 0.5})[0])
    6.0
    """
    for name, term in terms.items():
        if micro > 1 and jnp.ndim(term) == 0:
            raise InputError(f"micro={micro} is not accepted: the term {name!r} couples the rows of a batch, so micro must be 1")
    factors = {name: weights.get(name, 1.0) for name in terms}
    for name, factor in factors.items():
        check_option(f"the weight of {name!r}", factor, lambda w: 0 <= w < float("inf"), "a number, 0 or more")
    if factors and not any(isinstance(factor, Tracer) or factor for factor in factors.values()):
        raise InputError(f"the weights of {', '.join(factors)} are all 0: expected one above 0, or nothing is learnt")
    if where_weight is not None:
        here = where_weight
        terms = {n: jnp.where(here > 0, x, 0.0) * here if jnp.shape(x) == here.shape else x for n, x in terms.items()}
    means = {name: jnp.mean(term) for name, term in terms.items()}
    weighted = (factors[name] * value for name, value in means.items())
    return sum(weighted, start=jnp.zeros(())), means


def weights_at(weights: Mapping[str, Any], step: jax.Array) -> dict[str, Any]:
    """Weights of terms at a step: those that are functions of it get it.

    >>> weights_at({"a": 2.0, "b": lambda step: step / 10}, 5)
    {'a': 2.0, 'b': 0.5}
    """
    return {name: weight_at(weight, step) for name, weight in weights.items()}


def weight_at(weight: Weight, step: Any) -> Any:
    """A weight at a step.

    >>> weight_at(lambda step: step / 10, 5)
    0.5
    """
    return weight(step) if callable(weight) else weight


def with_label_weights(batch: dict[str, Any], axis_name: AxisName = None) -> dict[str, Any]:
    """Adds to a batch what makes plain means over rows, or over their positions, means over those that count.

    `"label_weight"`: 1 over the labelled share of the *global* batch where there is a label, 0 where there is none. The plain mean
    of a loss times this weight is the mean over what is labelled, however rows are spread over devices and slices of accumulation.
    Whole numbers are classes, of rows `[B]` or of positions `[B, T]`, `[B, H, W]`, and a negative one is none; floats are
    distributions `[..., K]`, which all count. The weight has the shape of the class numbers. A batch without `"label"` has none.

    `"where_weight"`: likewise of a column `"where"`, which says what is there and what only fills up, bool `[B]` or `[B, T]`. What
    fills up counts in no term of its shape (`weighted_sum`), and labels there are none.

    >>> with_label_weights({"label": jnp.array([3, -1, -1, 0])})["label_weight"].tolist()
    [2.0, 0.0, 0.0, 2.0]
    >>> with_label_weights({"label": jnp.array([[1, -1], [2, 2]])})["label_weight"].shape
    (2, 2)
    """
    found = dict(batch)
    if "where" in batch:
        there = jnp.asarray(batch["where"])
        found["where_weight"] = _relative(there, axis_name)
    if "label" in batch:
        labels = jnp.asarray(batch["label"])
        known = labels >= 0 if _are_numbers(labels) else jnp.ones(labels.shape[:-1] or labels.shape, bool)
        if "where" in batch and there.shape == known.shape:
            # Times the weight of what is there, which `weighted_sum` puts to it, this is the weight of what is both.
            found["label_weight"] = _relative(known & there, axis_name) * mean(there, axis_name=axis_name)
        else:
            found["label_weight"] = _relative(known, axis_name)
    return found


def masked_loss(loss: Callable[..., jax.Array], outputs: jax.Array, batch: Mapping[str, jax.Array], **options: Any) -> jax.Array:
    """The term of a supervised loss `(outputs, labels) -> [...]` in which rows or positions without a label do not count.

    `batch` holds `"label"` and the `"label_weight"` `[...]` of `with_label_weights`, which the recipes add.
    """
    labels, weight = batch["label"], batch["label_weight"]
    if not _are_numbers(labels):
        return loss(outputs, labels, **options) * weight
    # Class 0 stands in for a missing label, so that no gradient of an uncounted row is undefined.
    known, value = labels >= 0, loss(outputs, jnp.maximum(labels, 0), **options)
    if value.shape != labels.shape:
        raise InputError(f"label has whole numbers of shape {labels.shape}: expected classes of shape {value.shape}, or floats")
    return jnp.where(known, value, 0.0) * weight


def _are_numbers(labels: jax.Array) -> bool:
    return jnp.issubdtype(jnp.result_type(labels), jnp.integer)


def _relative(kept: jax.Array, axis_name: AxisName) -> jax.Array:
    """1 over the kept share of the global batch, 0 where nothing is kept."""
    share = mean(kept, axis_name=axis_name)
    return kept / jnp.where(share > 0, share, 1.0)
