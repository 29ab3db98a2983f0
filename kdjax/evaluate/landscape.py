"""What the loss does around a minimum and on the way from one to another."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from kdjax.core.check import InputError, check_option


class Gap(NamedTuple):
    """How much the loss rises by perturbations of some sizes.

    Attributes:
      mean: float64 `[scales]`, the mean over draws.
      error: float64 `[scales]`, the standard error of that mean.
    """

    mean: np.ndarray
    error: np.ndarray


def filter_normalised(key: jax.Array, params: Any) -> Any:
    """A random direction whose filters are as long as those of the weights: what nets of other scales are compared by.

    Normal numbers, scaled so that each filter, what leads to one output of a kernel `[..., out]`, has the norm of the weights'.
    Arrays of fewer than two axes, biases and what belongs to a norm, do not move.

    Args:
      key: random key.
      params: a pytree of floating arrays.

    Returns:
      A pytree of their shapes.

    Reference:
      Li, Xu, Taylor, Studer, Goldstein, "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018, arXiv:1712.09913.

    >>> found = filter_normalised(jax.random.key(0), {"kernel": 3 * jnp.ones((4, 2)), "bias": jnp.ones(2)})
    >>> jnp.linalg.norm(found["kernel"], axis=0).round(4).tolist(), found["bias"].tolist()
    ([6.0, 6.0], [0.0, 0.0])
    """
    leaves, tree = jax.tree.flatten(params)

    def one(number, x):
        if jnp.ndim(x) < 2:
            return jnp.zeros_like(x)
        drawn, axes = jax.random.normal(jax.random.fold_in(key, number), x.shape, x.dtype), tuple(range(x.ndim - 1))
        norm = lambda a: jnp.sqrt(jnp.sum(a**2, axis=axes, keepdims=True))  # noqa: E731
        return drawn * norm(x) / jnp.maximum(norm(drawn), 1e-10)

    return tree.unflatten([one(number, x) for number, x in enumerate(leaves)])


def losses_at(
    loss: Callable[[Any, Any], jax.Array], params: Any, batches: Iterable[Any], directions: Sequence[Any], positions: ArrayLike
) -> np.ndarray:
    """The mean loss over all rows at `params + sum_i positions[:, i] directions[i]`.

    One direction gives a line, two a plane; with `end - start` as the direction, positions in [0, 1] lead from one net to another.

    Args:
      loss: `(params, batch) -> [B]`, one number a row; for batch norm in evaluation mode `evaluation_loss`.
      params: a pytree of floating arrays.
      batches: pytrees of arrays with a leading axis of rows, gone through once a position: a list, not a generator.
      directions: pytrees like `params`, D of them.
      positions: `[N, D]`.

    Returns:
      float64 `[N]`.

    Raises:
      InputError: for directions of other shapes, positions that are not `[N, D]`, or no row.

    >>> def loss(p, rows):
    ...     return jnp.sum(rows * p[None] ** 2, axis=1)
    >>> losses_at(loss, jnp.zeros(2), [jnp.array([[1.0, 3.0]])], [jnp.array([0.0, 1.0])], [[0.0], [2.0]]).tolist()
    [0.0, 12.0]
    """
    positions = np.asarray(positions, np.float32)
    if positions.ndim != 2 or positions.shape[1] != len(directions):
        raise InputError(f"positions of shape {positions.shape} are not accepted: expected [N, {len(directions)}]")
    form = lambda tree: (jax.tree.structure(tree), [jnp.shape(x) for x in jax.tree.leaves(tree)])  # noqa: E731
    if any(form(direction) != form(params) for direction in directions):
        raise InputError("a direction of other shapes than params is not accepted: expected a tree of the same arrays")
    total, rows = np.zeros(len(positions)), 0
    for batch in batches:
        rows += len(jax.tree.leaves(batch)[0])
        total += [float(_total(loss, params, list(directions), batch, at)) for at in positions]
    if not rows:
        raise InputError("batches hold no row: expected a list of batches, one or more")
    return total / rows


def perturbation_gap(
    loss: Callable[[Any, Any], jax.Array],
    params: Any,
    batches: Sequence[Any],
    key: jax.Array,
    *,
    scales: Sequence[float] = (0.05, 0.1, 0.2),
    draws: int = 10,
) -> Gap:
    """How much the mean loss rises by random perturbations: the mean over draws d of `L(params + s d) - L(params)`.

    Args:
      loss: as in `losses_at`.
      params: as in `losses_at`.
      batches: as in `losses_at`.
      key: of the draws, each a `filter_normalised` direction.
      scales: s, of the norm of each filter.
      draws: 2 or more.

    Returns:
      `(mean, error)`, each `[scales]`.

    Raises:
      InputError: for fewer draws, and as `losses_at`.

    >>> def loss(p, rows):
    ...     return rows * jnp.sum(p**2)
    >>> gap = perturbation_gap(loss, jnp.zeros((2, 1)), [jnp.ones(1)], jax.random.key(0), scales=(1.0,), draws=2)
    >>> gap.mean.tolist()  # filters of length 0 do not move
    [0.0]
    """
    check_option("draws", draws, lambda n: n >= 2, "2 or more")
    positions = [[0.0], *([scale] for scale in scales)]
    found = [
        losses_at(loss, params, batches, [filter_normalised(jax.random.fold_in(key, n), params)], positions) for n in range(draws)
    ]
    rise = np.array([values[1:] - values[0] for values in found])
    return Gap(rise.mean(0), rise.std(0, ddof=1) / np.sqrt(draws))


@partial(jax.jit, static_argnums=0)
def _total(loss: Callable, params: Any, directions: list[Any], batch: Any, at: jax.Array) -> jax.Array:
    """The summed loss of one batch at one position."""
    moved = jax.tree.map(lambda x, *ds: x + sum(at[i].astype(d.dtype) * d for i, d in enumerate(ds)), params, *directions)
    return jnp.sum(loss(moved, batch))
