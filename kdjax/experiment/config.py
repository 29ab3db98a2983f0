"""A filled config, and its values."""

from typing import Any

from kdjax.core.extra import extra

with extra("run"):
    from ml_collections import ConfigDict

Config = Any  # a filled ConfigDict, whose fields no type checker can know


def plain(section: Any) -> dict:
    """A section as a dict of JSON values."""
    return {
        name: plain(value) if isinstance(value, ConfigDict) else list(value) if isinstance(value, tuple) else value
        for name, value in section.items()
    }
