"""Relational distillation: the shape that a batch's examples form, by their distances and by their angles."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core import collectives
from kdjax.losses._check import check_shapes, wide
from kdjax.losses._geometry import off_diagonal, unit

# Squared distances are at least this before the root, as in the authors' code.
_NEAR = 1e-12
# Anchors whose angles are worked out together: this many times the squared batch is held at once, not its cube.
_ANCHORS = 64


def relational_distance(student: jax.Array, teacher: jax.Array, *, axis_name: str | None = None) -> jax.Array:
    """Compares the distances between examples, each network's in units of its own mean distance.

        mean over all i, j of huber(D_s / m_s - D_t / m_t)[i, j],   D[i, j] = |h_i - h_j|,   m = the mean of D > 0

    The Huber function turns linear at 1. The gradient flows through the student's mean and stops at the teacher.
    Squared distances are at least 1e-12, so equal rows give finite numbers; they pull nowhere.

    Args:
      student: pooled features `[B, C]`.
      teacher: pooled features `[B, D]`.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0. It does not change when either side is moved, turned or scaled.

    Raises:
      InputError: for other shapes or unequal batches.

    Reference:
      Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068. As in the authors' code the
      mean is over all B^2 entries with the zero diagonal; the paper's sum over pairs is B^2 times this. Their weight is 25.

    >>> line, corner = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> print(f"{relational_distance(line, corner):.4f}")  # 4 * (1/2)^2 / 2 / 9: 3/4, 3/2, 3/4 against 3/4, 1, 5/4
    0.0556
    """
    sizes = check_shapes("B C", student=student)
    check_shapes("B D", sizes, teacher=teacher)
    s, t = wide(student), lax.stop_gradient(wide(teacher))
    return collectives.mean(_huber(_distances(s, axis_name) - _distances(t, axis_name)), axis_name=axis_name)


def relational_angle(student: jax.Array, teacher: jax.Array, *, axis_name: str | None = None) -> jax.Array:
    """Compares the angles that examples form in threes.

        mean over all i, j, k of huber(A_s - A_t)[i, j, k],   A[i, j, k] = the cosine of the angle at i from j to k

    The Huber function turns linear at 1. The gradient stops at the teacher. Angles with two equal rows are 0 and pull
    nowhere. Takes time with the cube of the batch.

    Args:
      student: pooled features `[B, C]`.
      teacher: pooled features `[B, D]`.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar in [0, 1.5]. It does not change when either side is moved, turned or scaled.

    Raises:
      InputError: for other shapes or unequal batches.

    Reference:
      Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068. As in the authors' code the
      mean is over all B^3 entries, degenerate ones too; the paper's sum over triplets is B^3 times this. Their weight
      is 50.

    >>> x = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> print(f"{relational_angle(x, 2 * x[:, ::-1]):.4f}")
    0.0000
    """
    sizes = check_shapes("B C", student=student)
    check_shapes("B D", sizes, teacher=teacher)
    own = wide(student), lax.stop_gradient(wide(teacher))
    s, t = (collectives.gather(x, axis_name) for x in own)

    @jax.checkpoint  # the gradient works the angles out again instead of keeping them
    def of_anchor(anchor: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.mean(_huber(_cosines(s - anchor[0][None]) - _cosines(t - anchor[1][None])))

    return collectives.mean(lax.map(of_anchor, own, batch_size=_ANCHORS), axis_name=axis_name)


def _distances(x: jax.Array, axis_name: str | None) -> jax.Array:
    """This device's rows' distances to all rows, over the mean of the positive ones: `[b, D] -> [b, B]`."""
    # The differences, not |a|^2 + |b|^2 - 2 ab: that loses small distances between long vectors.
    apart = collectives.gather(x, axis_name)[None] - x[:, None]
    distance = off_diagonal(jnp.sqrt(jnp.maximum(jnp.sum(apart**2, axis=-1), _NEAR)), axis_name)
    mean = collectives.mean(distance, distance > 0, axis_name)
    return distance / jnp.where(mean > 0, mean, 1.0)


def _cosines(apart: jax.Array) -> jax.Array:
    direction = unit(apart, 1)
    return jnp.einsum("jd,kd->jk", direction, direction, precision="highest")


def _huber(x: jax.Array) -> jax.Array:
    """x^2 / 2 within [-1, 1], and |x| - 1/2 outside."""
    inside = jnp.clip(x, -1.0, 1.0)
    return inside * (x - 0.5 * inside)
