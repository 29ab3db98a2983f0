"""What the benchmarks share: words of the command line, and a table."""

from collections.abc import Sequence

from kdjax.core.check import InputError


def whole(name: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
        raise InputError(f"{name}={text!r} is not accepted: expected a whole number, {least} or more")
    return int(text)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown; the first line is the head, the first column stands left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(line[1:], widths[1:], strict=True))]) + " |"
        for line in (lines[0], rule, *lines[1:])
    )
