"""Which part of a file a net is: one set of weights of several, one prefix of names."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from kdjax.core import InputError

AVERAGED = "ema"  # the part that asks for averaged weights, whatever they are called
_AVERAGES = {"ema", "averaged", "average", "avg", "swa", "momentum", "target", "k", "polyak", "shadow"}
_TRIED = 64  # prefixes that are compared where none fits


def is_averaged(name: str) -> bool:
    """Whether weights of that name are a slow average of others: EMA, SWA, the key encoder of MoCo, a target network.

    >>> is_averaged("state_dict_ema"), is_averaged("module.encoder_k."), is_averaged("model")
    (True, True, False)
    """
    return bool(_AVERAGES & set(re.split(r"[._]", name)))


def choose(names: Iterable[str], part: str, first: Sequence[str] = ()) -> tuple[str, str]:
    """One of several parts of a file: the one asked for, else plain weights before averaged ones.

    Args:
      names: of the parts.
      part: one of them; `"ema"` for averaged ones; `""` for the plain ones where there are both.
      first: names that go before others.

    Returns:
      `(its name, what to tell: what was taken and how to ask for others)`.

    Raises:
      InputError: where none is asked for so, or several are.

    >>> choose(["model", "model_ema"], "")
    ('model', "the weights under 'model'; part=model_ema takes the averaged ones")
    """
    names = list(names)
    averaged = [name for name in names if is_averaged(name)]
    plain = [name for name in names if name not in averaged]
    bare = {name.rstrip("."): name for name in names}
    if part == AVERAGED and AVERAGED not in bare:
        pool = averaged
    elif part:
        pool = [bare[part]] if part in bare else []
    else:
        pool = [name for name in plain if name.partition(".")[0] in first][:1] or plain or averaged
    if not pool:
        raise InputError(f"it has no part {part!r}; accepted: {_listed(names)}")
    if len(pool) > 1:
        raise InputError(f"it holds several networks, under {_listed(pool)}: expected one of them as part=<name>")
    (name,) = pool
    kind = "averaged weights" if name in averaged else "weights"
    others = [f"part={x.rstrip('.')} takes the {'averaged' if x in averaged else 'other'} ones" for x in names if x and x != name]
    return name, "; ".join([f"the {kind} under {name.rstrip('.')!r}", *others[:3]])


class Prefix(NamedTuple):
    """Where a net is in a file.

    Attributes:
      text: what stands in front of its names.
      told: what was taken and how to ask for others.
      others: prefixes under which it fits as well.
    """

    text: str
    told: str = ""
    others: tuple[str, ...] = ()


def find_prefix(names: Collection[str], wanted: Sequence[str], part: str, other: Callable[[str], str]) -> Prefix:
    """What stands in front of the names of a net in a file.

    Args:
      names: in the file.
      wanted: of the net, without its head.
      part: as in `choose`, of the prefixes under which the net fits.
      other: another name of the same array.

    Returns:
      The Prefix; where the net fits under none, that with the most of its names.

    >>> find_prefix({"module.a": 0, "module.b": 0, "n": 0}, ["a", "b"], "", str)
    Prefix(text='module.', told="the weights under 'module'", others=())
    """

    def has(prefix: str, name: str) -> bool:
        return prefix + name in names or prefix + other(name) in names

    if not wanted:
        return Prefix("")
    ends = {wanted[0], other(wanted[0])}
    found = {k[: -len(end)] for k in names for end in ends if k == end or k.endswith("." + end)}
    fits = sorted((p for p in found if all(has(p, name) for name in wanted)), key=lambda p: (len(p), p))
    if fits or part:
        text, told = choose(fits, part)
        return Prefix(text, told, tuple(p for p in fits if p and p != text))
    some = sorted(found, key=lambda p: (len(p), p))[:_TRIED]
    return Prefix(max(some, key=lambda p: sum(has(p, name) for name in wanted), default=""))


def _listed(names: Sequence[str]) -> str:
    names = [name for name in names if name]
    shown = ", ".join(repr(name.rstrip(".")) for name in names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown or "none"
