"""Optimisers that leave some parameters alone, keep them in a form, or tell the size of their steps."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.core.check import InputError, check_option
from kdjax.core.unit import unit


def check_optimiser(tx: Any) -> None:
    """Refuses what is no optimiser: a rate, a schedule.

    >>> check_optimiser(optax.sgd(0.1))
    """
    check_option("tx", tx, lambda tx: hasattr(tx, "init") and hasattr(tx, "update"), "an optimiser, such as optax.sgd(0.1)")


def told(tx: Any) -> optax.GradientTransformationExtraArgs:
    """The optimiser with optax's extra arguments (`value`, `grad`, `value_fn`), for those of its parts that ask for them."""
    check_optimiser(tx)
    if isinstance(tx, optax.MultiSteps):  # takes them, and does not say so
        return optax.GradientTransformationExtraArgs(tx.init, tx.update)  # type: ignore[arg-type]
    return optax.with_extra_args_support(tx)


class Ascending(optax.GradientTransformationExtraArgs):
    """An optimiser that evaluates the loss at other parameters, all of which it must see: `core.ascend`."""


def _whole(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Refuses what needs all parameters as the optimiser of some."""
    check_optimiser(tx)
    if isinstance(tx, Ascending):
        raise InputError("an optimiser with an ascent is not accepted for a part of the parameters: expected ascent=0")
    return tx


class Norms(NamedTuple):
    """The state of an optimiser, with the lengths of the last gradient and of what the optimiser made of it."""

    inner: Any
    gradient_norm: jax.Array
    update_norm: jax.Array


def with_norms(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser whose lengths of gradient and update are among the metrics of each step.

    `"gradient_norm"` and `"update_norm"`: `|g|` and `|u|` over all parameters together, of the gradient of the global batch and of
    what is added to the parameters. In front of a chain's other parts the gradient is that which these leave.

    Args:
      tx: the optimiser.

    >>> state = with_norms(optax.sgd(0.1)).update({"w": jnp.array([3.0, 4.0])}, Norms(optax.sgd(0.1).init({}), 0.0, 0.0))[1]
    >>> float(state.gradient_norm), float(state.update_norm)
    (5.0, 0.5)
    """
    tx = told(tx)

    def init(params):
        return Norms(tx.init(params), jnp.zeros(()), jnp.zeros(()))

    def update(updates, state, params=None, **extra):
        moved, inner = tx.update(updates, state.inner, params, **extra)
        return moved, Norms(inner, length(updates), length(moved))

    return optax.GradientTransformationExtraArgs(init, update)


def norms_of(opt: Any) -> dict[str, jax.Array]:
    """What `with_norms` measured, found in the state of an optimiser; empty where it did not."""
    found = [x for x in jax.tree.leaves(opt, is_leaf=lambda x: isinstance(x, Norms)) if isinstance(x, Norms)]
    return {name: getattr(found[0], name) for name in ("gradient_norm", "update_norm")} if found else {}


def length(tree: Any) -> jax.Array:
    """Of all arrays of a tree together, in float32."""
    return optax.tree.norm(jax.tree.map(lambda x: x.astype(jnp.float32), tree))


def skip_zero_gradients(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser that leaves arrays alone whose gradient is zero throughout.

    For a loss that ends below the classifier: weight decay alone would wear down the layers above.
    """

    tx = told(tx)

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

    tx = told(_whole(tx))

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

    tx = told(tx)

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

    return optax.partition({name: _whole(one) for name, one in {"": tx, **others}.items()}, label)
