"""The one place where options are checked and refused."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from jax import lax
from jax.core import Tracer

from kdjax.core.arrays import AxisName


class InputError(ValueError):
    """Something the user gave (option, file, path, shape) is refused; the message is one line that names it."""

    def __init__(self, message: str):
        super().__init__("\\n".join(message.splitlines()))  # a name in it may hold what ends a line


def check_option(name: str, value: Any, ok: Callable[[Any], Any], accepted: str) -> None:
    """Refuses a bad option, but only when its value is concrete.

    Traced values pass unchecked, so that a sweep can `vmap` over a temperature or a weight.

    Args:
      name: the option's name, as the caller spells it.
      value: the value given.
      ok: a predicate of the value.
      accepted: what is accepted, in words.

    Raises:
      InputError: when the value is concrete and `ok(value)` is false.

    >>> check_option("temperature", 4.0, lambda t: t > 0, "a number above 0")
    """
    if isinstance(value, Tracer):
        return
    try:
        fine = bool(ok(value))
    except (TypeError, ValueError, IndexError):  # the predicate does not apply: a word for a number, one number for two
        fine = False
    if not fine:
        shown = " ".join(repr(value).split())
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise InputError(f"{name}={shown} is not accepted: expected {accepted}")


def check_positive(**options: Any) -> None:
    """Refuses options, by their names, that are not above 0.

    >>> check_positive(temperature=0.1)
    """
    for name, value in options.items():
        check_option(name, value, lambda x: x > 0, "a number above 0")


def check_share(**options: Any) -> None:
    """Refuses options, by their names, that are not from 0 to 1.

    >>> check_share(momentum=0.99)
    """
    for name, value in options.items():
        check_option(name, value, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def check_count(**options: Any) -> None:
    """Refuses options, by their names, that are below 1: steps, heads, repeats.

    >>> check_count(steps=100)
    """
    for name, value in options.items():
        check_option(name, value, lambda n: n >= 1, "a whole number of at least 1")


def check_rows(rows: int, axis_name: AxisName, whose: str) -> None:
    """Refuses a single row where a layer takes statistics of its batch, at trace time.

    The pooled features of one row minus their own mean are 0 whatever the row: a loss of such outputs stays at a constant.

    Args:
      rows: on this device.
      axis_name: mapped axis over which the statistics are averaged, or None.
      whose: the layer, in words.

    Raises:
      InputError: when there is one row, also with those of the other devices of `axis_name`.

    >>> check_rows(2, None, "batch norm 'bn'")
    """
    if rows == 1 and (axis_name is None or lax.axis_size(axis_name) == 1):
        where = " on each device, or an axis_name to share statistics over" if axis_name is None else " on all devices together"
        raise InputError(f"{whose} in training is given 1 row, which is not accepted: expected 2 or more{where}")


def nearest(name: str, accepted: Iterable[str]) -> str:
    """The accepted names as one phrase, nearest to `name` first; of many the first thirty, so that a line stays one to read.

    >>> nearest("adma", ["sgd", "adam"])
    'adam, sgd'
    >>> nearest("net9", [f"net{k}" for k in range(40)])[-11:]
    'and 10 more'
    """
    names = sorted(accepted)
    close = get_close_matches(name, names, n=3, cutoff=0.4)
    found = close + [n for n in names if n not in close]
    return ", ".join(found[:30]) + (f" and {len(found) - 30} more" if len(found) > 30 else "")


def pick(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """`table[name]`, or an `InputError` that lists what the table holds.

    >>> pick("optimiser", "sgd", {"sgd": 1})
    1
    """
    if name not in table:
        raise InputError(f"{kind} {name!r} is not known; accepted: {nearest(name, table)}")
    return table[name]
