"""How sharp a minimum is: the largest eigenvalues and the trace of the Hessian, by products with vectors alone."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from kdjax.core.check import InputError, check_option
from kdjax.core.net import Net
from kdjax.evaluate.classification import negative_log_likelihood


class Eigenvalues(NamedTuple):
    """The largest eigenvalues of a Hessian.

    Attributes:
      values: float64 `[count]`, the largest first.
      errors: float64 `[count]`: an eigenvalue lies within this distance of each (the norm of its residual).
      products: how many products with the Hessian they took.
    """

    values: np.ndarray
    errors: np.ndarray
    products: int


class Trace(NamedTuple):
    """The estimated trace of a Hessian and the standard error of that estimate."""

    mean: float
    error: float


def evaluation_loss(net: Net, stats: Any) -> Callable[[Any, Any], jax.Array]:
    """The cross-entropy of a classifier, as the functions here take it.

    The net is in evaluation mode: batch norm uses the stored statistics, which stay as they are when the weights move.

    Args:
      net: with the tap `"logits"`.
      stats: its statistics.

    Returns:
      `(params, {"image", "label"}) -> [B]`, nats.

    >>> net = Net(lambda key, x: (None, None), lambda params, stats, x, **_: ({"logits": x * params}, stats))
    >>> batch = {"image": jnp.zeros((1, 2)), "label": jnp.array([1])}
    >>> print(evaluation_loss(net, {})(jnp.float32(1.0), batch))
    [0.6931472]
    """
    return lambda params, batch: negative_log_likelihood(
        net.apply(params, stats, batch["image"], train=False)[0]["logits"], batch["label"]
    )


def hessian_top(
    loss: Callable[[Any, Any], jax.Array],
    params: Any,
    batches: Iterable[Any],
    key: jax.Array,
    *,
    count: int = 1,
    iterations: int = 100,
    tolerance: float = 1e-3,
) -> Eigenvalues:
    """The largest eigenvalues of the Hessian of the mean loss over all rows, by the method of Lanczos.

    Each iteration is one product with the Hessian over all batches, reverse mode over reverse mode; the vectors are kept
    orthogonal. It ends when every wanted eigenvalue has `error <= tolerance |value|`.

    Args:
      loss: `(params, batch) -> [B]`, one number a row.
      params: a pytree of floating arrays, where the Hessian is taken.
      batches: pytrees of arrays with a leading axis of rows, gone through once an iteration: a list, not a generator.
      key: of the first vector.
      count: how many eigenvalues; equal ones may be counted once.
      iterations: the most products, at least `count`; the memory needed is as many copies of `params`, on the host.
      tolerance: the relative error at which it stops, 0 or more.

    Returns:
      `(values, errors, products)`.

    Raises:
      InputError: when an option is out of range, there is no row, or a product is not finite.

    Reference:
      Behrooz Ghorbani, Shankar Krishnan, Ying Xiao, "An Investigation into Neural Net Optimization via Hessian Eigenvalue
      Density", ICML 2019, arXiv:1901.10159.

    >>> def loss(p, rows):
    ...     return jnp.sum(rows * p[None] ** 2, axis=1) / 2
    >>> top = hessian_top(loss, jnp.ones(2), [jnp.array([[1.0, 3.0], [1.0, 5.0]])], jax.random.key(0))
    >>> top.values.round(4).tolist(), top.products
    ([4.0], 2)
    """
    product, size = _operator(loss, params, batches)
    check_option("count", count, lambda n: 1 <= n <= size, f"1 to {size}, the number of weights")
    check_option("iterations", iterations, lambda n: n >= count, f"{count} or more, the number of eigenvalues")
    check_option("tolerance", tolerance, lambda t: t >= 0, "0 or more")
    most = min(iterations, size)
    basis, matrix = np.zeros((most, size), np.float32), np.zeros((most, most))

    def draw(i: int) -> np.ndarray:
        return np.asarray(jax.random.normal(jax.random.fold_in(key, i), (size,)), np.float64)

    vector, i = draw(0), 0
    while True:
        basis[i] = vector / np.linalg.norm(vector)
        vector = product(basis[i])
        matrix[i, i] = vector @ basis[i]
        vector = _apart(vector, basis[: i + 1])
        rest = np.linalg.norm(vector)
        values, vectors = np.linalg.eigh(matrix[: i + 1, : i + 1])
        top, errors = values[::-1][:count], rest * np.abs(vectors[-1, ::-1][:count])
        i += 1
        if i == most or (i >= count and (errors <= tolerance * np.abs(top)).all()):
            return Eigenvalues(top, errors, i)
        if rest <= 1e-6 * np.abs(values).max():  # nothing new this way: go on from another vector
            vector, rest = _apart(draw(i), basis[:i]), 0.0
        matrix[i, i - 1] = matrix[i - 1, i] = rest


def hessian_trace(
    loss: Callable[[Any, Any], jax.Array], params: Any, batches: Iterable[Any], key: jax.Array, *, draws: int = 100
) -> Trace:
    """The trace of the Hessian of the mean loss over all rows, by Hutchinson's estimate: the mean of v'Hv.

    The entries of v are 1 or -1, each with probability 1/2. For a diagonal Hessian the estimate is exact.

    Args:
      loss: as in `hessian_top`.
      params: as in `hessian_top`.
      batches: as in `hessian_top`, gone through once a draw.
      key: of the draws.
      draws: how many vectors v, 2 or more; the standard error falls with the root of their number.

    Returns:
      `(mean, error)`, error the standard error of the mean over draws.

    Raises:
      InputError: when `draws` is below 2, there is no row, or a product is not finite.

    Reference:
      Zhewei Yao, Amir Gholami, Kurt Keutzer, Michael W. Mahoney, "PyHessian: Neural Networks Through the Lens of the
      Hessian", IEEE Big Data 2020, arXiv:1912.07145.

    >>> def loss(p, rows):
    ...     return jnp.sum(rows * p[None] ** 2, axis=1) / 2
    >>> hessian_trace(loss, jnp.ones(2), [jnp.array([[1.0, 3.0], [1.0, 5.0]])], jax.random.key(0), draws=4)
    Trace(mean=5.0, error=0.0)
    """
    product, size = _operator(loss, params, batches)
    check_option("draws", draws, lambda n: n >= 2, "2 or more")
    signs = (np.asarray(jax.random.rademacher(jax.random.fold_in(key, i), (size,), jnp.float32)) for i in range(draws))
    values = [float(product(v) @ v) for v in signs]
    return Trace(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(draws)))


def _operator(loss: Callable, params: Any, batches: Iterable[Any]) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """The product of the Hessian with a vector of all weights, and their number."""
    flat, _ = ravel_pytree(params)

    def product(vector: np.ndarray) -> np.ndarray:
        total, rows = np.zeros(flat.size), 0
        # Not the short floats that accelerators prefer: the small eigenvalues of a sharp Hessian would be lost in them.
        with jax.default_matmul_precision("highest"):
            for batch in batches:
                total += np.asarray(_product(loss, params, batch, vector))
                rows += len(jax.tree.leaves(batch)[0])
        if not rows:
            raise InputError("batches hold no row: expected a list of batches, one or more")
        if not np.isfinite(total).all():
            raise InputError("the Hessian holds NaN or infinity: expected weights and rows of finite loss")
        return total / rows

    return product, flat.size


@partial(jax.jit, static_argnums=0)
def _product(loss: Callable, params: Any, batch: Any, vector: jax.Array) -> jax.Array:
    """The Hessian of the summed loss of one batch times a vector."""
    flat, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda p: jnp.sum(loss(unravel(p), batch)))
    return jax.grad(lambda p: jnp.vdot(gradient(p), vector.astype(p.dtype)))(flat)


def _apart(vector: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What of a vector is orthogonal to a basis; done twice, for the digits that the first time loses."""
    for _ in range(2):
        vector = vector - (basis @ vector.astype(basis.dtype)) @ basis
    return vector
