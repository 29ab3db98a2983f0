"""Which classes a network holds for alike, and how far a student's view of them is from its teacher's.

Arrays of other shapes raise `InputError`.
"""

import jax
import jax.numpy as jnp

from kdjax.core.shapes import check_shapes


def class_correlation(logits: jax.Array) -> jax.Array:
    """Pearson's correlation of the logits of every two classes, over the examples.

    Args:
      logits: `[N, C]`, all rows at once.

    Returns:
      `[C, C]` between -1 and 1, float32, symmetric, 1 on the diagonal; 0 for a class whose logit is constant.

    >>> class_correlation(jnp.array([[1.0, -2.0, 5.0], [2.0, -4.0, 5.0], [3.0, -6.0, 5.0]])).round(4).tolist()
    [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    check_shapes("N C", logits=logits)
    x = logits.astype(jnp.float32)
    x = x - x[:1]  # a constant logit is now exactly 0
    x = x - jnp.mean(x, axis=0, keepdims=True)
    x = x / jnp.maximum(jnp.max(jnp.abs(x), axis=0, keepdims=True), 1e-30)
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=0, keepdims=True), 1e-30)
    return jnp.clip(jnp.matmul(x.T, x, precision=jax.lax.Precision.HIGHEST), -1.0, 1.0)


def correlation_difference(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """The student's `class_correlation` minus its teacher's: what of the teacher's view of the classes was not learnt.

    Args:
      student: logits `[N, C]`.
      teacher: logits of the same rows, `[N, C]`.

    Returns:
      `[C, C]` between -2 and 2, float32, symmetric.

    Reference:
      Yonglong Tian, Dilip Krishnan, Phillip Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699.

    >>> z = jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    >>> correlation_difference(z * jnp.array([[1.0, -1.0]]), z).round(4).tolist()
    [[0.0, -2.0], [-2.0, 0.0]]
    """
    check_shapes("N C", student=student, teacher=teacher)
    return class_correlation(student) - class_correlation(teacher)


def correlation_gap(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """The mean absolute value of `correlation_difference`, over all its C^2 numbers: a scalar between 0 and 2.

    Args:
      student: logits `[N, C]`.
      teacher: logits of the same rows, `[N, C]`.

    Returns:
      A scalar, float32; 0 where the student has its teacher's correlations.

    >>> z = jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    >>> print(correlation_gap(z * jnp.array([[1.0, -1.0]]), z).round(4))
    1.0
    """
    return jnp.mean(jnp.abs(correlation_difference(student, teacher)))
