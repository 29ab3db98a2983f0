"""What differs between two JSON values, in words."""

from collections.abc import Sequence
from typing import Any


def difference(old: Any, new: Any, at: str = "config", other: str = "this command", skip: Sequence[str] = ()) -> str:
    """The first thing that differs between two JSON values; empty where nothing does.

    Args:
      old: what was there before.
      new: what is there now.
      at: the name of both.
      other: who has the new one.
      skip: names inside, such as `"data.dir"`, that may differ.

    >>> difference({"rate": 0.1, "epochs": 5}, {"rate": 0.2, "epochs": 5})
    'config.rate=0.1, this command has 0.2'
    >>> difference({"rate": 0.1}, {"rate": 0.2, "epochs": 5}, at="", skip=["rate"])
    'no epochs'
    """
    return _difference(old, new, at, other, tuple(f"{at}.{name}" if at else name for name in skip))


def _difference(old: Any, new: Any, at: str, other: str, skip: tuple[str, ...]) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            name = f"{at}.{key}" if at else key
            if name in skip:
                continue
            if key not in old or key not in new:
                return f"{'no ' if key not in old else ''}{name}"
            if found := _difference(old[key], new[key], name, other, skip):
                return found
        return ""
    return "" if old == new else f"{at}={old}, {other} has {new}"
