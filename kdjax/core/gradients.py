"""The only places that differentiate for training."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError, check_option
from kdjax.core.collectives import pmean
from kdjax.core.net import Net
from kdjax.core.state import Learner
from kdjax.core.updates import check_optimiser, norms_of, told


def mean_grad(
    loss: Callable, params: Any, *args: Any, axis_name: AxisName = None, rows: Any = False, micro: int = 1
) -> tuple[tuple[jax.Array, Any], Any]:
    """The gradient of the mean loss over the global batch, the same on one device and on many.

    The loss is averaged over `axis_name` inside the differentiated function *and* the gradient outside: averaging the
    gradient of a local loss alone gives gradients N times too large under `jax.shard_map` with its default checks.

    Args:
      loss: `(params, *args) -> (scalar, aux)`, the scalar a mean over the local rows.
      params: what to differentiate by.
      *args: pytrees whose arrays share one leading axis of rows.
      axis_name: mapped axis that holds the batch, or None.
      rows: which parameters are sharded with the batch (latents, pixels being inverted), whose gradient is not averaged: a bool, or
        a tree of them, each for an array or a whole part of `params`.
      micro: slices of the batch to accumulate over; each sees its own batch statistics.

    Returns:
      `((value, aux), gradient)`; floating parts of `aux` are averaged over devices and slices.

    Raises:
      InputError: when `micro` does not divide the batch, or is asked for together with `rows`.

    >>> (value, _), g = mean_grad(lambda p, x: (jnp.mean(p * x), None), jnp.float32(2.0), jnp.array([1.0, 3.0]))
    >>> float(value), float(g)
    (4.0, 2.0)
    """
    check_option("micro", micro, lambda n: isinstance(n, int) and n >= 1, "a whole number of at least 1")
    some = any(jax.tree.leaves(rows))
    if some and micro > 1:
        raise InputError(f"micro={micro} is not accepted with rows={rows}: parameters sharded with the batch need micro=1")

    def averaged(params, *args):
        value, aux = loss(params, *args)
        return (_varying(value, axis_name) if some else pmean(value, axis_name)), aux

    def one(*args):
        # Beside rows, what all devices share is each one's own copy: its gradients are then averaged in every mode.
        held = _each(lambda row, x: x if row or not some else _varying(x, axis_name), rows, params)
        (value, aux), grads = jax.value_and_grad(averaged, has_aux=True)(held, *args)
        if not some:
            return (value, pmean(aux, axis_name)), pmean(grads, axis_name)
        # Each row's gradient of the *global* mean: the local one over the number of devices.
        devices = 1 if axis_name is None else lax.axis_size(axis_name)
        grads = _each(lambda row, g: g / devices if row else pmean(g, axis_name), rows, grads)
        return (pmean(value, axis_name), pmean(aux, axis_name)), grads

    if micro == 1:
        return one(*args)
    # Interleaved slices: every device keeps its own rows in every slice.
    cut = lambda x: jnp.swapaxes(x.reshape(x.shape[0] // micro, micro, *x.shape[1:]), 0, 1)  # noqa: E731
    slices = jax.tree.map(cut, _divisible(args, micro))
    _, results = lax.scan(lambda carry, part: (carry, one(*part)), None, slices)
    return jax.tree.map(lambda x: jnp.mean(x, 0) if jnp.issubdtype(x.dtype, jnp.floating) else x[-1], results)


def learn(
    loss: Callable,
    learner: Learner,
    tx: optax.GradientTransformation,
    *args: Any,
    axis_name: AxisName = None,
    rows: Any = False,
    micro: int = 1,
) -> tuple[Learner, dict]:
    """One optimiser step on the mean of `loss` over the global batch.

    The optimiser is told optax's `value`, `grad` and `value_fn`, so that it may look at the loss: reduction on a plateau, Polyak's
    rate, line searches and with them L-BFGS.

    Args:
      loss: `(params, *args) -> (scalar, (stats, metrics))`.
      learner: what is trained.
      tx: its optimiser.
      *args: pytrees with one leading axis of rows; all else is closed over.
      axis_name: as in `mean_grad`.
      rows: as in `mean_grad`.
      micro: as in `mean_grad`; the new statistics are the mean over the slices.

    Returns:
      `(learner, metrics)`; the metrics gain `"loss"`, and what `with_norms` measures.
    """
    whole = partial(mean_grad, loss, axis_name=axis_name, rows=rows, micro=micro)
    (value, (stats, metrics)), grads = whole(learner.params, *args)
    value_fn = _with_its_gradient(lambda params: whole(params, *args))
    learner = apply_gradients(grads, learner, tx, value=value, grad=grads, value_fn=value_fn).replace(stats=stats)
    return learner, {**metrics, "loss": value, **norms_of(learner.opt)}


def _with_its_gradient(mean_grad_at: Callable) -> Callable:
    """The value of `params -> ((value, aux), gradient)` as a function that JAX differentiates to this gradient."""
    value = jax.custom_vjp(lambda params: mean_grad_at(params)[0][0])

    def forward(params):
        (found, _), gradient = mean_grad_at(params)
        return found, gradient

    value.defvjp(forward, lambda gradient, factor: (jax.tree.map(lambda g: (factor * g).astype(g.dtype), gradient),))
    return value


def apply_gradients(grads: Any, learner: Learner, tx: optax.GradientTransformation, **seen: Any) -> Learner:
    """Applies an update direction to a learner, gradient or not (Reptile, mean of trajectories).

    Args:
      grads: the direction.
      learner: what moves.
      tx: its optimiser.
      **seen: optax's extra arguments (`value`, `grad`, `value_fn`), for the optimisers that ask for them.
    """
    updates, opt = told(tx).update(grads, learner.opt, learner.params, **seen)
    return learner.replace(params=optax.apply_updates(learner.params, updates), opt=opt)


def new_learner(key: jax.Array, net: Net, tx: optax.GradientTransformation, x: Any) -> Learner:
    """A freshly initialised learner for `net` on inputs like `x`."""
    check_optimiser(tx)
    params, stats = net.init(key, x)
    return Learner(params, stats, tx.init(params))


def _each(f, rows, params):
    """`f(row, array)` of every array, `row` that of the part of `rows` it lies in."""
    return jax.tree.map(lambda row, part: jax.tree.map(lambda x: f(row, x), part), rows, params)


def _varying(x, axis_name):
    """Marks an array as the device's own, so that its gradient is a plain sum over devices in every mode."""
    # Adding a zero that differs in kind, not in value, works with and without shard_map's checks.
    return x if axis_name is None else x + 0 * lax.axis_index(axis_name).astype(x.dtype)


def _divisible(args, micro):
    sizes = {x.shape[0] for x in jax.tree.leaves(args)}
    if any(n % micro for n in sizes):
        raise InputError(f"micro={micro} is not accepted: it must divide the rows of a batch, {sorted(sizes)}")
    return args
