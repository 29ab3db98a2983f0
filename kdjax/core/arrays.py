"""What stands in signatures for arrays, for the mapped axes of a batch and for the weights of terms."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.typing

ArrayLike = jax.typing.ArrayLike | Sequence[Any]  # an array of JAX or NumPy, a number, or lists of numbers
AxisName = str | tuple[str, ...] | None  # a mapped axis, or several
Weight = float | jax.Array | Callable[[Any], Any]  # a factor of a term, or a function of the step that gives it
