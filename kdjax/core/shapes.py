"""Arrays that fit one another, by the letters of their axes."""

from typing import Any

import numpy as np

from kdjax.core.check import InputError

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


def _read(letters: list[str], shape: tuple[int, ...]) -> list[tuple[str, Any]] | None:
    if "..." not in letters:
        return list(zip(letters, shape, strict=True)) if len(shape) == len(letters) else None
    head = letters.index("...")
    tail = len(letters) - head - 1
    if len(shape) < head + tail:
        return None
    middle = len(shape) - tail
    return list(zip(letters, (*shape[:head], shape[head:middle], *shape[middle:]), strict=True))
