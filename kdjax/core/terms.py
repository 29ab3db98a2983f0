"""Named loss terms to one scalar."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from kdjax.core.check import InputError, check_option
from kdjax.core.collectives import mean


def weighted_sum(
    terms: Mapping[str, jax.Array], weights: Mapping[str, Any], *, micro: int = 1
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sums the means of named terms, each times its weight, and keeps the unweighted means for the log.

    Args:
      terms: per name an array `[B]`, or a scalar from a loss whose rows see each other.
      weights: factors by name; a name without one counts once.
      micro: slices the batch is accumulated over; above 1 a scalar term is refused, as its rows must meet in one slice.

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
    means = {name: jnp.mean(term) for name, term in terms.items()}
    weighted = (factors[name] * value for name, value in means.items())
    return sum(weighted, start=jnp.zeros(())), means


def with_label_weights(batch: dict[str, Any], axis_name: str | None = None) -> dict[str, Any]:
    """Adds `"label_weight"` `[B]`: 1 over the labelled share of the *global* batch where a row has a label, 0 where it has none.

    The plain mean over rows of a loss times this weight is the mean over labelled rows, however rows are spread over devices and
    slices of accumulation. A negative label is none; a distribution `[B, K]` is one. A batch without `"label"` stays as it is.

    >>> with_label_weights({"label": jnp.array([3, -1, -1, 0])})["label_weight"].tolist()
    [2.0, 0.0, 0.0, 2.0]
    """
    if "label" not in batch:
        return batch
    labels = batch["label"]
    known = jnp.ones(labels.shape[0]) if jnp.ndim(labels) == 2 else (labels >= 0).astype(jnp.float32)
    share = mean(known, axis_name=axis_name)
    return {**batch, "label_weight": known / jnp.where(share > 0, share, 1.0)}


def masked_loss(loss: Callable[..., jax.Array], outputs: jax.Array, batch: Mapping[str, jax.Array], **options: Any) -> jax.Array:
    """The term `[B]` of a supervised loss `(outputs, labels) -> [B]` in which unlabelled rows do not count.

    `batch` holds `"label"` and the `"label_weight"` of `with_label_weights`, which the recipes add.
    """
    labels, weight = batch["label"], batch["label_weight"]
    if jnp.ndim(labels) == 2:
        return loss(outputs, labels, **options) * weight
    # Class 0 stands in for a missing label, so that no gradient of an uncounted row is undefined.
    return jnp.where(labels >= 0, loss(outputs, jnp.maximum(labels, 0), **options), 0.0) * weight
