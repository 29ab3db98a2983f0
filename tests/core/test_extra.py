import pytest

from kdjax.core import InputError
from kdjax.core.extra import extra


def test_a_missing_package_is_one_line_that_says_how_to_get_it():
    with pytest.raises(InputError, match=r"^nowhere is not installed; it comes with: pip install 'kdjax\[run\]'$"), extra("run"):
        import nowhere  # noqa: F401  # pyright: ignore


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), extra("run"):
        1 / 0  # noqa: B018
