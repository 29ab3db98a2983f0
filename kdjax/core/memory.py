"""How much memory there is, so that what cannot fit is refused before it is begun."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kdjax.core.check import InputError


def memory_available(root: str | Path = "/") -> int:
    """Bytes of memory that this process may still take.

    The least of what the machine has free or can free, of what is left to the container or job (cgroups of both versions),
    and of what is left below `ulimit -v`. Files that the kernel keeps in memory count as free, swap does not. A system that
    tells none of these counts as one with all its memory free.

    Args:
      root: where `proc` and `sys` lie.

    >>> memory_available() > 0
    True
    """
    import resource

    root = Path(root)
    free = _numbers(root / "proc/meminfo").get("MemAvailable:")
    left = [_physical() if free is None else free * 1024, *_left_in_groups(root)]
    if (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        left.append(limit - _numbers(root / "proc/self/status").get("VmSize:", 0) * 1024)
    return max(min(left), 0)


def check_memory(what: str, needed: int, expected: str) -> None:
    """Refuses what would not fit into memory.

    Args:
      what: what would take it, as the beginning of a sentence: `seeds=100000`.
      needed: bytes.
      expected: what is accepted, in words.

    Raises:
      InputError: when `needed` is more than is available.

    >>> check_memory("seeds=1", 10, "fewer seeds")
    """
    if needed > (free := memory_available()):
        raise InputError(f"{what} would take {in_units(needed)} of memory, {in_units(free)} are free here: expected {expected}")


def in_units(count: int) -> str:
    """A number of bytes as a person reads it.

    >>> in_units(3 * 2**30), in_units(2**40 * 1500), in_units(200)
    ('3.0 GiB', '1,500 TiB', '200 bytes')
    """
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count // size:,} {unit}"
    return f"{count} bytes"


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 2**62


def _left_in_groups(root: Path) -> Iterator[int]:
    """What the limits of this process's control groups, and of those above them, leave."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds and "memory" not in kinds.split(","):
            continue
        place = root / ("sys/fs/cgroup/memory" if kinds else "sys/fs/cgroup")
        most, taken = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        group = place / path.strip("/")  # inside a container often not there: then what lies above it holds
        for folder in (group, *group.parents):
            limit, used = _text(folder / most).strip(), _text(folder / taken).strip()
            if limit.isdecimal() and used.isdecimal():
                stat, of_all = _numbers(folder / "memory.stat"), "total_" if kinds else ""
                kept = stat.get(f"{of_all}inactive_file", 0) + stat.get(f"{of_all}active_file", 0)  # of files: can be freed
                yield int(limit) - int(used) + kept
            if folder == place:
                break


def _numbers(file: Path) -> dict[str, int]:
    """Lines that begin with a name and a whole number."""
    return {name: int(number) for name, number in re.findall(r"^(\S+)[ \t]+([0-9]+)(?!\S)", _text(file), re.MULTILINE)}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
