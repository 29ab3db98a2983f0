"""What a compiled program sends between devices, read off its text."""

import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_SENT = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(-start)?\(")
_CALLED = re.compile(r"(?:to_apply|body|calls|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ARRAY = re.compile(r"(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Sent(NamedTuple):
    """One collective of a program.

    Attributes:
      kind: of `KINDS`.
      bytes: of its result on one device, each time.
      arrays: how many are sent together.
      times: how often it runs in one call of the program; a loop of unknown length counts once, every branch of a choice as taken.
    """

    kind: str
    bytes: int
    arrays: int
    times: int


def collectives(text: str) -> list[Sent]:
    """The collectives of a compiled program, in the order of its text.

    Args:
      text: what `compiled.as_text()` gives.

    >>> collectives("ENTRY %main (x: f32[4]) -> f32[4] {\\n  %sum = f32[4]{0} all-reduce(%x), to_apply=%add\\n}")
    [Sent(kind='all-reduce', bytes=16, arrays=1, times=1)]
    """
    computations, entry = _computations(text)
    return list(_of(computations, entry, 1))


def sent_bytes(text: str) -> int:
    """The bytes of all collectives in one call of a program."""
    return sum(sent.bytes * sent.times for sent in collectives(text))


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation by its name, and the name of the one that is called."""
    found: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            lines = found.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    return found, entry


def _of(computations: dict[str, list[str]], name: str, times: int) -> Iterator[Sent]:
    for line in computations.get(name, ()):
        if sent := _SENT.search(line):
            sizes = [_bytes(bits, sides) for _, bits, sides in _ARRAY.findall(sent[1])]
            sizes = sizes[len(sizes) // 2 :] if sent[3] and sent[2] != "all-reduce" else sizes  # behind what goes in
            yield Sent(sent[2], sum(sizes), len(sizes), times)
            continue
        trips = _TRIPS.search(line)
        for one, several in _CALLED.findall(line):
            for called in [one] if one else re.findall(r"[\w.\-]+", several):
                yield from _of(computations, called, times * (int(trips[1]) if trips else 1))


def _bytes(bits: str, sides: str) -> int:
    size = max(int(bits or 8) // 8, 1)
    for side in filter(None, sides.split(",")):
        size *= int(side)
    return size
