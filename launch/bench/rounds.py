"""Times programs that take turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax


class Time(NamedTuple):
    """How long a call takes.

    Attributes:
      parts: seconds a call in each round.
      host: the share of the time in which the host starts calls; in the rest of it the host only waits.
    """

    parts: list[float]
    host: float

    @property
    def seconds(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.parts)

    @property
    def spread(self) -> float:
        """The slowest round less the fastest, as a part of the median."""
        return (max(self.parts) - min(self.parts)) / self.seconds

    def ratio(self, other: "Time") -> float:
        """The median over the rounds of this time over another one's in the same round."""
        return statistics.median(mine / its for mine, its in zip(self.parts, other.parts, strict=True))


def time_in_turns(calls: Mapping[str, Callable[[], Any]], *, rounds: int, seconds: float) -> dict[str, Time]:
    """Times calls that take turns, so that whatever else the machine does meets all of them.

    Args:
      calls: by name, compiled before; each returns what is to be waited for.
      rounds: in which each of them has a part.
      seconds: about how long a part takes; it is one call at least.
    """
    counts = {name: max(1, round(seconds / _part(call, 1)[0])) for name, call in calls.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(_part(call, counts[name]))
    return {
        name: Time([spent / counts[name] for spent, _ in parts], sum(x for _, x in parts) / sum(x for x, _ in parts))
        for name, parts in found.items()
    }


def _part(call: Callable[[], Any], count: int) -> tuple[float, float]:
    """Seconds that so many calls take, and those of them in which the host starts calls."""
    began, host = time.perf_counter(), 0.0
    waited: list[Any] = []
    for _ in range(count):
        start = time.perf_counter()
        waited.append(call())
        host += time.perf_counter() - start
        if len(waited) > 2:
            jax.block_until_ready(waited.pop(0))
    jax.block_until_ready(waited)
    return time.perf_counter() - began, host
