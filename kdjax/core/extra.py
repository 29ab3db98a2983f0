"""Packages that only an extra of kdjax installs."""

from collections.abc import Iterator
from contextlib import contextmanager

from kdjax.core.check import InputError


@contextmanager
def extra(name: str = "run") -> Iterator[None]:
    """Around imports of packages that come with an extra: without it, one line that says how to get them.

    Raises:
      InputError: where a package is not installed.

    >>> with extra("run"):
    ...     import json
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; it comes with: pip install 'kdjax[{name}]'") from error
