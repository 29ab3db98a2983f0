"""Named loss terms to one scalar."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError
from kdjax.core.collectives import mean


def weighted_sum(
    terms: Mapping[str, Any], weights: Mapping[str, Any], *, axis_name: str | None = None, micro: int = 1
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sums the means of named terms, each times its weight, and keeps the unweighted means for the log.

    Args:
      terms: per name an array `[B]`; a pair `(values [B], where [B])` for a masked mean; or a scalar from a loss whose rows
        see each other.
      weights: factors by name; a name without one counts once.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices the batch is accumulated over; above 1 a scalar term is refused, as its rows must meet in one slice. A
        masked mean is then taken slice by slice, and each slice counts once however many rows its mask keeps.

    Returns:
      `(scalar, {name: mean})`.

    >>> float(weighted_sum({"a": jnp.array([1.0, 3.0]), "b": jnp.float32(5.0)}, {"a": 0.5})[0])
    6.0
    """
    means = {}
    for name, term in terms.items():
        values, where = term if isinstance(term, tuple) else (term, None)
        if micro > 1 and jnp.ndim(values) == 0:
            raise InputError(f"micro={micro} is not accepted: the term {name!r} couples the rows of a batch, so micro must be 1")
        means[name] = jnp.mean(values) if where is None else mean(values, where, axis_name)
    weighted = (weights.get(name, 1.0) * value for name, value in means.items())
    return sum(weighted, start=jnp.zeros(())), means


def labelled(loss: Callable[..., jax.Array], outputs: jax.Array, labels: jax.Array, **options: Any) -> Any:
    """The term of a supervised loss `(outputs, labels) -> [B]`: rows with a negative label (unlabelled images) do not count.

    Labels that are distributions `[B, K]` count in every row.
    """
    if jnp.ndim(labels) == 2:
        return loss(outputs, labels, **options)
    # Class 0 stands in for a missing label, so that no gradient of an uncounted row is undefined.
    return loss(outputs, jnp.maximum(labels, 0), **options), labels >= 0
