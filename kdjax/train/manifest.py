"""What a checkpoint says of itself, checked before it is believed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import InputError
from kdjax.core.memory import in_units
from kdjax.train import fingerprint

_PACKED = 1000  # times fewer bytes than it has may a tree of weights take on disk; what claims more asks for the memory alone
_SMALL = 2**26  # bytes that anything may claim


def content_of(manifest: Any, place: str, folder: Path) -> dict:
    """The content of a manifest: `stage`, `step`, `leaves`, `notes`.

    A sha256 tells a damaged manifest, not a forged one: so every field is looked at, too.

    Args:
      manifest: what was read.
      place: of the checkpoint, for the message.
      folder: where the checkpoint lies, for its size on disk.

    Raises:
      InputError: one line that says what is wrong with it.
    """
    content = manifest.get("content") if isinstance(manifest, Mapping) else None
    if not isinstance(content, dict) or fingerprint.of_json(content) != manifest.get("sha256"):
        raise InputError(f"{place} is refused: its manifest does not match its sha256, the file is damaged")
    leaves, notes = content.get("leaves"), content.get("notes")
    if not isinstance(leaves, list) or not leaves or not isinstance(notes, dict) or not {"stage", "step"} <= set(content):
        raise InputError(f"{place} is refused: its manifest is none of kdjax's: it lacks arrays, notes, a stage or a step")
    above: set[str] = set()
    for leaf in leaves:
        if not _is_leaf(leaf):
            raise InputError(f"{place} is refused: its manifest is none of kdjax's: {str(leaf)[:80]!r} is no array")
        parts = leaf["path"].split("/")
        above |= {"/".join(parts[:i]) for i in range(1, len(parts))}
    paths = [leaf["path"] for leaf in leaves]
    if len(set(paths)) < len(paths) or above & set(paths):
        raise InputError(f"{place} is refused: its manifest names an array twice")
    sizes = (math.prod(leaf["shape"]) * jnp.dtype(leaf["dtype"]).itemsize for leaf in leaves)
    check_claim(f"{place} is refused: its manifest", sum(sizes), folder)
    return content


def check_claim(what: str, claimed: int, folder: Path) -> None:
    """Refuses arrays of which a folder cannot hold the numbers: reading them would ask for the memory alone.

    Args:
      what: claims them, for the message.
      claimed: bytes.
      folder: where they should be.

    Raises:
      InputError: for more than compression explains.
    """
    if claimed > _SMALL and claimed > _PACKED * (held := sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())):
        raise InputError(f"{what} claims {in_units(claimed)} of arrays, and there are {in_units(held)} on disk")


def check_members(network: Any, what: str) -> None:
    """Refuses what is no network of some members: `params` and `stats`, or one of them, every array with as many rows.

    Args:
      network: nested dicts of arrays.
      what: it is, for the message.
    """
    fine = isinstance(network, dict) and set(network) <= {"params", "stats"}
    rows = {x.shape[:1] for x in jax.tree.leaves(network)}
    if not fine or len(rows) != 1 or rows <= {(), (0,)}:
        raise InputError(f"{what} is not made of params and stats with a row for each member")


def _is_leaf(leaf: Any) -> bool:
    if not isinstance(leaf, dict) or not all(isinstance(leaf.get(k), str) for k in ("path", "dtype", "sha256")):
        return False
    shape = leaf.get("shape")
    if not isinstance(shape, list) or len(shape) > 16 or not all(type(n) is int and n >= 0 for n in shape):
        return False
    try:
        return jnp.dtype(leaf["dtype"]).kind in "biufcV"
    except TypeError:
        return False
