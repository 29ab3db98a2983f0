"""Optimisers that leave some parameters alone, or keep them in a form."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax.core.unit import unit


def skip_zero_gradients(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser that leaves arrays alone whose gradient is zero throughout.

    For a loss that ends below the classifier: weight decay alone would wear down the layers above.
    """

    def update(updates, state, params=None, **extra):
        moved, state = tx.update(updates, state, params, **extra)
        return jax.tree.map(lambda g, u: jnp.where(jnp.any(g != 0), u, jnp.zeros_like(u)), updates, moved), state

    return optax.GradientTransformationExtraArgs(tx.init, update)


def freeze(tx: optax.GradientTransformation, parts: Sequence[str], steps: int) -> optax.GradientTransformation:
    """The optimiser that leaves parts of the parameters alone for its first steps: neither decay nor momentum reaches them.

    Args:
      tx: the optimiser.
      parts: names at the top of the parameters.
      steps: how many.

    >>> tx = freeze(optax.sgd(1.0), ["head"], 1)
    >>> params = {"body": jnp.float32(0), "head": jnp.float32(0)}
    >>> gradient = jax.tree.map(jnp.ones_like, params)
    >>> first, state = tx.update(gradient, tx.init(params), params)
    >>> second, state = tx.update(gradient, state, params)
    >>> [float(updates["head"]) for updates in (first, second)], float(first["body"])
    ([0.0, -1.0], -1.0)
    """

    def init(params):
        return tx.init(params), jnp.int32(0)

    def update(updates, state, params=None, **extra):
        inner, count = state

        def gated(tree):
            held = {name: jax.tree.map(lambda x: jnp.where(count < steps, jnp.zeros_like(x), x), tree[name]) for name in parts}
            return {**tree, **held}

        # Of zeros there is nothing to decay, so that no decay gathers in the momentum.
        moved, inner = tx.update(gated(updates), inner, params and gated(params), **extra)
        return gated(moved), (inner, count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def keep_unit_columns(tx: optax.GradientTransformation, part: str) -> optax.GradientTransformation:
    """The optimiser behind whose step the columns of a part's matrices are divided by their length.

    Args:
      tx: the optimiser.
      part: name at the top of the parameters.
    """

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, state = tx.update(updates, state, params, **extra)
        kept = jax.tree.map(lambda p, u: unit(p + u, 0) - p, params[part], updates[part])
        return {**updates, part: kept}, state

    return optax.GradientTransformationExtraArgs(tx.init, update)


def by_part(tx: optax.GradientTransformation, **others: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser that trains parts of the parameters with others.

    Args:
      tx: of all parts that are not named.
      **others: by names at the top of the parameters.
    """

    def label(params):
        return {name: name if name in others else "" for name in params}

    return optax.partition({"": tx, **others}, label)
