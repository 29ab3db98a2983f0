"""Telling an image from a few others of the batch, and doing so alike from two views."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_rows
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_flag, check_positive, wide
from kdjax.losses._geometry import off_diagonal
from kdjax.losses._softmax import divergence, log_probabilities, times_log


def relic_contrast(
    online: ArrayLike,
    target: ArrayLike,
    negatives: ArrayLike | None,
    *,
    temperature: ArrayLike = 0.3,
    axis_name: AxisName = None,
) -> jax.Array:
    """How well an image's view finds the image's other view among those of a few images of the batch.

        -log p_i(i),   p_i = softmax over j in {i} and N_i of cos(online_i, target_j) / T

    The gradient stops at the target.

    Args:
      online: the predictor's outputs of one view `[B, D]`.
      target: the slow network's of another view of the same images, `[B, D]`.
      negatives: N, numbers `[B, n]` of other rows in the global batch; None: all other rows.
      temperature: T, a number above 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B]`, in nats, of this device's rows; `log(1 + n)` where all cosines are equal. NaN where a number is no row.

    Raises:
      InputError: for other shapes or types, a global batch of one row, or a temperature that is not above 0.

    Reference:
      Tomasev, Bica, McWilliams, Buesing, Pascanu, Blundell, Mitrovic, "Pushing the limits of self-supervised ResNets: Can we
      outperform supervised learning without labels on ImageNet?", arXiv 2201.05119.

    >>> rows = jnp.eye(3)
    >>> print(f"{relic_contrast(rows, rows, jnp.array([[1], [2], [0]]), temperature=1.0)[0]:.4f}")  # log(1 + 1 / e)
    0.3133
    """
    _check(online, target, negatives, temperature, axis_name)
    return -_log_p(online, lax.stop_gradient(target), negatives, temperature, axis_name)[:, 0]


def relic_invariance(
    online: ArrayLike,
    target: ArrayLike,
    swapped: tuple[ArrayLike, ArrayLike] | None,
    negatives: ArrayLike | None,
    *,
    temperature: ArrayLike = 0.3,
    reverse: bool = False,
    axis_name: AxisName = None,
) -> jax.Array:
    """How far two views differ in how like the other images an image looks: the divergence of their distributions over them.

        KL(p_i || q_i) = sg(sum of p_i log p_i) - sum of p_i log q_i

    p is that of `relic_contrast`, from view a to view b; q the same from b to a, over the same rows. Where b has not been seen by
    the one network or a by the other, as small views are not, q_i is the softmax over j of cos(online_j, target_i) / T: the columns
    of p's matrix. `sg` stops the gradient, which flows through p and q otherwise, and never into a target.

    Args:
      online: the predictor's outputs of view a, `[B, D]`.
      target: the slow network's of view b, `[B, D]`.
      swapped: the predictor's of b and the slow network's of a, `[B, D]` each; None: the columns.
      negatives: as in `relic_contrast`.
      temperature: T, a number above 0.
      reverse: True gives `KL(q_i || p_i)`, without `sg`.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B]`, in nats, of this device's rows.

    Raises:
      InputError: for other shapes or types, a global batch of one row, or options out of range.

    Reference:
      Mitrovic, McWilliams, Walker, Buesing, Blundell, "Representation Learning via Invariant Causal Mechanisms", ICLR 2021,
      arXiv 2010.07922; Tomasev, Bica, McWilliams, Buesing, Pascanu, Blundell, Mitrovic, "Pushing the limits of self-supervised
      ResNets", arXiv 2201.05119. The authors' loss is not released; a public one of ReLIC is the reverse one of the columns.

    >>> rows = jnp.eye(3)
    >>> relic_invariance(rows, rows, (rows, rows), None).tolist()
    [0.0, 0.0, 0.0]
    """
    _check(online, target, negatives, temperature, axis_name)
    check_flag("reverse", reverse)
    log_p = _log_p(online, lax.stop_gradient(target), negatives, temperature, axis_name)
    if swapped is None:
        log_q = _log_p(lax.stop_gradient(target), online, negatives, temperature, axis_name)
    else:
        back, forth = swapped
        check_shapes("B D", check_shapes("B D", online=online), **{"swapped[0]": back, "swapped[1]": forth})
        log_q = _log_p(back, lax.stop_gradient(forth), negatives, temperature, axis_name)
    if reverse:
        return jnp.sum(divergence(log_q, log_p), -1)
    crossed = -jnp.sum(times_log(jnp.exp(log_p), log_q), -1)
    # The divergence in one, which is exact where the two nearly agree, with the gradient of what is crossed.
    return lax.stop_gradient(jnp.sum(divergence(log_p, log_q), -1)) + (crossed - lax.stop_gradient(crossed))


def _check(online: ArrayLike, target: ArrayLike, negatives: ArrayLike | None, temperature: ArrayLike, axis_name: AxisName) -> None:
    sizes = check_shapes("B D", online=online, target=target)
    if negatives is not None:
        check_shapes("B N", sizes, negatives=negatives)
        if not jnp.issubdtype(kind := jnp.asarray(negatives).dtype, jnp.integer):
            raise InputError(f"negatives has type {kind}: expected integer row numbers")
    check_positive("temperature", temperature)
    check_rows(sizes["B"][0], axis_name, "relic")


def _log_p(
    rows: ArrayLike, columns: ArrayLike, negatives: ArrayLike | None, temperature: ArrayLike, axis_name: AxisName
) -> jax.Array:
    """Of each row, the logarithms of its own column, which comes first, and of those of other images."""
    a, b = unit(wide(rows)), unit(wide(columns))
    everyone = collectives.gather(b, axis_name)
    if negatives is None:
        others = off_diagonal(jnp.einsum("bd,nd->bn", a, everyone, precision="highest"), axis_name, -jnp.inf)
    else:
        others = jnp.einsum("bd,bnd->bn", a, collectives.take(everyone, jnp.asarray(negatives)), precision="highest")
    own = jnp.sum(a * b, -1, keepdims=True)
    return log_probabilities(jnp.concatenate([own, others], 1), temperature)
