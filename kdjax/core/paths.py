"""What a user gives as text: numbers and paths, each read by one function."""

import re
from pathlib import Path

from kdjax.core.check import InputError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_whole(text: str) -> int | None:
    """A whole number as people write it, or None: Python's own `int` also takes `1_0`, spaces and digits of other scripts.

    >>> read_whole("-12"), read_whole("1_0"), read_whole("１")
    (-12, None, None)
    """
    return int(text) if len(text) < 20 and re.fullmatch(r"-?\d+", text, re.ASCII) else None


def read_number(text: str) -> float | None:
    """A number as people write it, or None; what is too large for a float is infinite.

    >>> read_number("1e-3"), read_number("1_0"), read_number("nan")
    (0.001, None, None)
    """
    return float(text) if len(text) < 100 and _NUMBER.fullmatch(text) else None


def is_single(value: float) -> bool:
    """Whether a number is one of single precision, in which networks compute: neither too large for it nor too near to 0.

    >>> is_single(0.1), is_single(0.0), is_single(1e300), is_single(1e-300)
    (True, True, False, False)
    """
    return value == 0 or 1.2e-38 <= abs(value) <= 3.4e38


def user_path(text: str | Path) -> Path:
    """A path as a user gives it: a `~` or `~name` at its beginning is a home folder, wherever no shell has seen it.

    Raises:
      InputError: where there is no such home.

    >>> user_path("runs/a").as_posix()
    'runs/a'
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(
            f"path {str(text)!r} is not accepted: there is no home folder for its '~'; expected a path without"
        ) from None
