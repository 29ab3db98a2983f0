"""A filled config, and its values."""

from typing import Any

from ml_collections import ConfigDict

Config = Any  # a filled ConfigDict, whose fields no type checker can know

# What a run may go on with other values of: they change where and how fast, not what is computed.
FREE = ("devices", "fsdp", "parallel", "data.dir", "data.workers", "cache.dir")


def plain(section: Any) -> dict:
    """A section as a dict of JSON values."""
    return {
        name: plain(value) if isinstance(value, ConfigDict) else list(value) if isinstance(value, tuple) else value
        for name, value in section.items()
    }


def lasting(config: dict, above: str = "") -> dict:
    """A plain config without the fields of `FREE`: what results follow from."""
    kept = {k: v for k, v in config.items() if above + k not in FREE}
    return {k: lasting(v, f"{above}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}
