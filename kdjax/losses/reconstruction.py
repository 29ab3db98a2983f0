"""Images that a student's features are asked to hold."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.losses._check import check_shapes, wide
from kdjax.losses._geometry import absolute


def reconstruction(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """The mean absolute difference of two images.

        mean over elements of |s - t|

    The gradient stops at the teacher, and is 0 where the two are equal.

    Args:
      student: what is reconstructed, `[B, ..., C]`.
      teacher: the image itself, of the same shape and normalisation.

    Returns:
      `[B]`.

    Raises:
      InputError: for fewer than two axes or unequal shapes.

    Reference:
      Guo, Zhang, Han, Liu, Cheng, Han, "Pixel Distillation: A New Knowledge Distillation Scheme for Low-Resolution Image
      Recognition", arXiv 2112.09532; its weights, 10 at half and 50 at a quarter of the side, are for this mean.

    >>> reconstruction(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 2.0]]))
    Array([1.], dtype=float32)
    """
    check_shapes("B ... C", student=student, teacher=teacher)
    difference = absolute(wide(student) - lax.stop_gradient(wide(teacher)))
    return jnp.mean(difference, axis=tuple(range(1, difference.ndim)))
