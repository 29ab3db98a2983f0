"""Text from outside, such as names of files and classes, made safe to show."""

import unicodedata


def printable(text: object) -> str:
    r"""Text on one line that leaves a terminal alone and that every encoding of Unicode can write.

    What controls a terminal, ends a line, turns the direction of writing or is no character stands as an escape; a byte of a
    file's name that is no UTF-8 as that byte.

    >>> printable("a\x1b[31m\nb\udce9")
    'a\\x1b[31m\\nb\\xe9'
    """
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in str(text))


def _escaped(c: str) -> str:
    if "\udc80" <= c <= "\udcff":  # as Python holds a byte that it cannot decode
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape", "surrogatepass").decode()
