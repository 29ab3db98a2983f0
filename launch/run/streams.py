"""Output that takes any text, whatever the encoding of the terminal."""

import codecs
import io
import sys

from kdjax.core.printable import printable

_PLAIN = {"±": "+-", "–": "-", "—": "-", "…": "...", "×": "x"}


def any_text() -> None:
    """From now on a sign that the encoding of stdout or stderr lacks is told in ASCII instead of ending the program."""
    codecs.register_error("kdjax.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what stands in for them in tests and notebooks is none
            stream.reconfigure(errors="kdjax.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    signs = (_PLAIN.get(c) or printable(c) for c in lacking)
    return "".join(s if s.isascii() else s.encode("unicode_escape").decode() for s in signs), error.end
