"""What every loss does first: refuses bad shapes and options in one line, and widens what it reduces."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from kdjax.core.check import InputError, check_option

Sizes = dict[str, tuple[Any, str, tuple[int, ...]]]  # letter of a layout -> (size, the array it was read from, its shape)


def check_shapes(layout: str, sizes: Sizes | None = None, /, **arrays: Any) -> Sizes:
    """Refuses arrays that do not fit `layout`, or do not fit one another, at trace time.

    Args:
      layout: letters for the axes, such as `"B K"`; `...` stands for any number of axes. Equal letters mean
        equal sizes.
      sizes: the sizes an earlier call returned, which these arrays must fit as well.
      **arrays: the arguments by name.

    Returns:
      The sizes read so far.

    Raises:
      InputError: naming the argument, its shape, and the shape it disagrees with.

    >>> sizes = check_shapes("B ... C", features=np.zeros((2, 8, 8, 3)))
    >>> check_shapes("C", sizes, mean=np.zeros(4))
    Traceback (most recent call last):
    kdjax.core.check.InputError: mean has shape (4,) but features has shape (2, 8, 8, 3): expected the same C in [C]
    """
    letters = layout.split()
    wanted = f"[{', '.join(letters)}]"
    seen = dict(sizes or {})
    for name, x in arrays.items():
        shape = np.shape(x)
        read = _read(letters, shape)
        if read is None:
            raise InputError(f"{name} has shape {shape}: expected {wanted}")
        for letter, size in read:
            known, other, other_shape = seen.setdefault(letter, (size, name, shape))
            if known != size:
                same = "axes" if letter == "..." else letter
                but = f"{name} has shape {shape} but {other} has shape {other_shape}"
                raise InputError(f"{but}: expected the same {same} in {wanted}")
    return seen


def check_number(name: str, value: Any, ok: Callable[[float], bool], accepted: str) -> None:
    """Refuses an option that is not one real number, or whose concrete value is not `ok`.

    A traced scalar passes, so that sweeps can `vmap` over it.
    """
    if isinstance(value, Tracer) and value.ndim:
        raise InputError(f"{name} has shape {value.shape}: expected {accepted}")

    def good(v: Any) -> bool:
        # NumPy on purpose: an operation of jax.numpy would be traced under jit, even on a concrete array.
        x = np.asarray(v)
        real = jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)
        return x.ndim == 0 and real and bool(ok(float(x)))

    check_option(name, value, good, accepted)


def check_positive(name: str, value: Any) -> None:
    """Refuses an option that is not a finite number above 0."""
    check_number(name, value, lambda v: 0 < v < math.inf, "a finite number above 0")


def temperatures(value: Any, rows: tuple[int, ...], name: str = "temperature") -> jax.Array:
    """A temperature in float32 or wider: one number, or, of an array that broadcasts with the rows, one a row `[...]`.

    Raises:
      InputError: for another shape, or a concrete value that is not finite and above 0.
    """
    if np.ndim(value) == 0:
        check_positive(name, value)
        return wide(value)
    shape = np.shape(value)
    try:
        fits = np.broadcast_shapes(shape, rows) == rows
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"{name} has shape {shape}: expected one number, or an array that broadcasts with {list(rows)}")
    if not isinstance(value, Tracer):
        each = np.asarray(value, np.float64)
        if not ((each > 0) & (each < math.inf)).all():
            raise InputError(f"{name} has values that are not accepted: expected finite numbers above 0")
    return jnp.broadcast_to(wide(value), rows)


def check_flag(name: str, value: Any) -> None:
    """Refuses an option that is neither True nor False."""
    check_option(name, value, lambda v: isinstance(v, bool), "True or False")


def wide(x: Any) -> jax.Array:
    """The array in float32 or wider, so that sums over bfloat16 inputs keep their digits; a Python number widens nothing."""
    x = jnp.asarray(float(x) if isinstance(x, int | float) else x)
    if x.weak_type and jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _read(letters: list[str], shape: tuple[int, ...]) -> list[tuple[str, Any]] | None:
    if "..." not in letters:
        return list(zip(letters, shape, strict=True)) if len(shape) == len(letters) else None
    head = letters.index("...")
    tail = len(letters) - head - 1
    if len(shape) < head + tail:
        return None
    middle = len(shape) - tail
    return list(zip(letters, (*shape[:head], shape[head:middle], *shape[middle:]), strict=True))
