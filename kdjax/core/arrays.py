"""What stands in signatures for arrays, and for the mapped axes of a batch."""

from collections.abc import Sequence
from typing import Any

import jax.typing

ArrayLike = jax.typing.ArrayLike | Sequence[Any]  # an array of JAX or NumPy, a number, or lists of numbers
AxisName = str | tuple[str, ...] | None  # a mapped axis, or several
