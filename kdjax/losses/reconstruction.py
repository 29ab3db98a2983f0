"""Images that a student's features are asked to hold."""

import jax
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import wide
from kdjax.losses._geometry import absolute
from kdjax.losses._positions import mean_of_each, shown


def reconstruction(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The mean absolute difference of two images.

        mean over elements of |s - t|

    The gradient stops at the teacher, and is 0 where the two are equal.

    Args:
      student: what is reconstructed, `[B, ..., C]`.
      teacher: the image itself, of the same shape and normalisation.
      where: bool `[B, ...]`, the positions that count, others reach neither value nor gradient; 0 where none does. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for fewer than two axes or unequal shapes.

    Reference:
      Guo, Zhang, Han, Liu, Cheng, Han, "Pixel Distillation: A New Knowledge Distillation Scheme for Low-Resolution Image
      Recognition", arXiv 2112.09532; its weights, 10 at half and 50 at a quarter of the side, are for this mean.

    >>> reconstruction([[1.0, 2.0]], [[3.0, 2.0]])
    Array([1.], dtype=float32)
    """
    check_shapes("B ... C", student=student, teacher=teacher)
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)))
    return mean_of_each(absolute(s - t), where)
