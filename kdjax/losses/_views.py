"""Losses between views of the same images: some views give targets, which every other view predicts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import collectives
from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError
from kdjax.core.shapes import Sizes, check_shapes
from kdjax.losses._softmax import times_log


def check_views(predictions: dict[str, Any], targets: dict[str, Any]) -> Sizes:
    """Refuses arrays `[V, B, K]` and `[A, B, K]`, each by its name, unless the targets are of the first A of two or more views."""
    sizes = check_shapes("A B K", check_shapes("V B K", **predictions), **targets)
    ((name, _),), ((giver, _),) = predictions.items(), targets.items()
    views, given = sizes["V"][0], sizes["A"][0]
    if views < 2:
        raise InputError(f"{name} has {views} view: expected [V, B, K] with 2 views or more, for none is compared with itself")
    if not 1 <= given <= views:
        raise InputError(f"{giver} has {given} views and {name} {views}: expected [A, B, K], the first 1 to {views} of these views")
    return sizes


def swapped(log_p: jax.Array, targets: jax.Array, axis_name: AxisName) -> jax.Array:
    """The cross-entropy of each view's target with the predictions of the other views: the mean over all pairs and the batch.

        mean over a < A, v < V with v != a, and n of  -sum_k targets[a, n, k] log_p[v, n, k]

    Args:
      log_p: `[V, B, K]`, logarithms of predictions; -inf where the target is 0 counts 0.
      targets: `[A, B, K]`, of the first A views.
      axis_name: mapped axis that holds the rest of the batch, or None.
    """
    other = np.arange(len(targets))[:, None] != np.arange(len(log_p))
    # The other views are added up one by one: the sum of all less a view's own loses digits, and has no value for -inf.
    others = jnp.sum(jnp.where(other[:, :, None, None], log_p[None], 0.0), axis=1)
    each = -jnp.sum(times_log(targets, others), axis=-1) / (len(log_p) - 1)
    return collectives.mean(each, axis_name=axis_name)
