"""What a stage's result follows from, and what differs between two of them, in words."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kdjax.core.difference import difference
from kdjax.train import fingerprint


class Identity(NamedTuple):
    """What a stage's result follows from; all but the machine.

    Attributes:
      parts: what counts, JSON values: `settings` by name, digests of `inputs` and of traced `programs` by name.
      told: what explains a difference between programs and counts for nothing: what the stage is `about`, the `platform`.
      measures: digest of the code that measures the result, which may be measured anew.
    """

    parts: dict[str, dict[str, Any]]
    told: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    measures: str = ""

    @property
    def digest(self) -> str:
        """sha256 of what counts."""
        return fingerprint.of_json(self.parts)

    def written(self) -> dict[str, Any]:
        """What a manifest holds of it."""
        return {"parts": self.parts, "told": self.told}


def cause(written: Any, own: Identity) -> str:
    """Why something that was written is not this stage's; empty where it is.

    Args:
      written: what its manifest holds, as `Identity.written` gave it, maybe by another version of kdjax.
      own: of this stage.

    >>> own = Identity({"settings": {"steps": 6}, "inputs": {"data": "c0"}, "programs": {}})
    >>> cause({"parts": {"settings": {"steps": 12}, "inputs": {"data": "c0"}, "programs": {}}}, own)
    'steps=12, this run has 6'
    >>> cause({"parts": {"settings": {"steps": 6}, "inputs": {"data": "a7"}, "programs": {}}}, own)
    'other data'
    """
    theirs, told = (_inside(written, name) for name in ("parts", "told"))
    if theirs == own.parts:
        return ""
    if set(theirs) != set(own.parts):
        return "another version of kdjax"
    if found := difference(_inside(theirs, "settings"), own.parts["settings"], at="", other="this run"):
        return found
    if names := _differing(_inside(theirs, "inputs"), own.parts["inputs"]):
        return f"other {names[0]}"
    for name in ("about", "platform"):
        if found := difference(_inside(told, name), own.told.get(name, {}), at="", other="this run"):
            return found
    programs = _differing(_inside(theirs, "programs"), own.parts["programs"])
    return f"another program traced from its {' and its '.join(programs)}, which nothing else explains"


def _inside(x: Any, name: str) -> dict:
    found = x.get(name) if isinstance(x, Mapping) else None
    return found if isinstance(found, dict) else {}


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    return [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
