from pathlib import Path

import pytest

from kdjax.core import InputError
from kdjax.core.paths import read_number, read_whole, user_path


@pytest.mark.parametrize("text", ["1_0", "１", "²", " 1", "1 ", "", "-", "+1", "1.0", "0x1", "1\n", 20 * "9"])
def test_a_whole_number_is_digits(text):
    assert read_whole(text) is None


@pytest.mark.parametrize(
    "text", ["1_0", "0.1_5", "１.5", "٣", " 1", "1\n", "", ".", "e3", "nan", "inf", "1e", "0x1", "1,5", 200 * "1"]
)
def test_a_number_has_ascii_digits(text):
    assert read_number(text) is None


def test_numbers():
    assert [read_whole(t) for t in ("0", "-3", "007")] == [0, -3, 7]
    assert [read_number(t) for t in ("1", "-.5", "2.", "+1e-3", "1E6", "1e999")] == [1, -0.5, 2, 1e-3, 1e6, float("inf")]


def test_home_is_expanded_and_nothing_else(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path("~/a") == Path("/somewhere/a")
    assert user_path("a/~/b") == Path("a/~/b")
    with pytest.raises(InputError, match="'~nobody-of-this-name/x' is not accepted: there is no home"):
        user_path("~nobody-of-this-name/x")
