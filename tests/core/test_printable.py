import os

import pytest

from kdjax.core.printable import printable


@pytest.mark.parametrize("text", ["cat", "größer als — 猫 🙂", "a b", "50 % $x$ <b>|`"])
def test_what_is_only_text_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\x00\x7f", r"\x00\x7f"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_acts_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown
    printable(text).encode()
