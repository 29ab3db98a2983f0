"""A filled config, and its values."""

import json
from typing import Any

from kdjax.core.extra import extra

with extra("run"):
    from ml_collections import ConfigDict

Config = Any  # a filled ConfigDict, whose fields no type checker can know


def plain(section: Any) -> dict:
    """A section as a dict of JSON values, in the order of their names."""
    return json.loads(ConfigDict(section).to_json(sort_keys=True))
