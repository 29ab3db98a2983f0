"""The table that the benchmarks share."""

from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown; the first line is the head, the first column stands left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(line[1:], widths[1:], strict=True))]) + " |"
        for line in (lines[0], rule, *lines[1:])
    )
