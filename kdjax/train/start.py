"""Networks that start from weights of elsewhere, whatever method trains them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core import Follower, InputError, Method
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from kdjax.core.tree_paths import by_path
from kdjax.train import fingerprint
from kdjax.train.load import count_members
from kdjax.train.weight_files import find, fit


class Start(NamedTuple):
    """Weights that a network of a stage starts from.

    Attributes:
      network: which of the stage's.
      members: weights by path, `{"params/...": array, "stats/...": array}`, of one member of the source or of several; what is
        not in them starts as the method has it.
      sha256: of the file; of a folder, over the paths and arrays of the weights.
      format: as of a Teacher.
      fresh: paths of the head's arrays, which start anew, as the source has another head or none.
      told: which part of the file was taken, and what was left over.
    """

    network: str
    members: tuple[Mapping[str, np.ndarray], ...]
    sha256: str
    format: str
    fresh: tuple[str, ...] = ()
    told: str = ""

    def source(self) -> str:
        """A digest of the weights, for the identity of a stage."""
        return fingerprint.of_json([self.network, [fingerprint.of_tree(dict(member)) for member in self.members]])


def read_start(
    path: str | Path,
    network: str,
    specification: Mapping[str, Any],
    shape: tuple[int, ...],
    *,
    part: str = "",
    resize: bool = False,
) -> Start:
    """Reads weights for a network to start from, with a head of its own where theirs is another.

    Args:
      path: as of `read_teacher`; of a run, its last stage is taken, every member of it.
      network: of the stage.
      specification: of that network.
      shape: of one image, `(H, W, C)`.
      part: as of `read_teacher`.
      resize: as of `read_teacher`.

    Raises:
      InputError: one line that names the path, what was found there and what is accepted.
    """
    path = user_path(path)
    count = count_members(path) if (path / "config.json").is_file() else 1
    found = [find(path, part, member_number=i) for i in range(count)]
    try:
        fitted = [fit(one, specification, shape, resize=resize, new_head=True) for one in found]
    except InputError as error:
        raise InputError(printable(f"{path} is refused: {error}")) from None
    told = [fitted[0].told]
    theirs, here = ({k: list(one.get(k) or ()) for k in ("mean", "std")} for one in (found[0].specification or {}, specification))
    if found[0].specification is not None and theirs != here:
        told.append(f"its images were normalised by {_words(theirs)}, here by {_words(here)}")
    sha256 = found[0].sha256 if count == 1 else fingerprint.of_json([one.sha256 for one in found])
    members = tuple(by_path({"params": one.params, "stats": one.stats}) for one in fitted)
    return Start(network, members, sha256, found[0].format, fitted[0].fresh, "; ".join(filter(None, told)))


def begin(method: Method, state: Any, start: Start, member: int = 0) -> Any:
    """A member's State whose network has the weights of a Start.

    Where the network's arrays are in the State, `method.weights` says. A `Follower` that holds the same net, such as the target
    of BYOL, starts from them too; optimisers keep no copy of weights, and are as they were.

    Args:
      method: whose State it is.
      state: at step 0.
      start: what to start from.
      member: its number; members of the source are taken in turn.

    Raises:
      InputError: where the method does not keep the network as it is, or keeps another one.
    """
    leaves, tree = jax.tree.flatten(state)
    marks = [_Mark(i) for i in range(len(leaves))]
    try:
        known = method.weights(jax.tree.unflatten(tree, marks))
        if start.network not in known:
            raise InputError(f"network {start.network!r} is not of this method; accepted: {', '.join(known)}")
        places = {k: mark.number for k, mark in by_path(dict(zip(("params", "stats"), known[start.network], strict=True))).items()}
    except (TypeError, AttributeError) as error:
        raise InputError(f"network {start.network!r} is not kept as it is by this method: it cannot start from weights") from error
    weights = start.members[member % len(start.members)]
    for path, x in weights.items():
        if path not in places or tuple(leaves[places[path]].shape) != x.shape:
            raise InputError(f"{path} {x.shape} is not of network {start.network!r} of this method")
    new = {places[path]: x for path, x in weights.items()}
    for copy in _copies(state, tree, marks, places):
        new |= {copy[path]: x for path, x in weights.items()}
    return jax.tree.unflatten(tree, [jax.numpy.asarray(new[i], x.dtype) if i in new else x for i, x in enumerate(leaves)])


class _Mark:
    """Where a leaf was; anything that computes with it fails."""

    def __init__(self, number: int):
        self.number = number


def _copies(state: Any, tree: Any, marks: list[_Mark], places: Mapping[str, int]) -> list[dict[str, int]]:
    """Followers of the same net: `{path: number of the leaf}` each."""
    shapes = [tuple(x.shape) for x in jax.tree.leaves(state)]
    wanted = {path: shapes[i] for path, i in places.items()}
    marked = jax.tree.leaves(jax.tree.unflatten(tree, marks), is_leaf=lambda x: isinstance(x, Follower))
    found = []
    for follower in (x for x in marked if isinstance(x, Follower)):
        held = {k: mark.number for k, mark in by_path({"params": follower.params, "stats": follower.stats}).items()}
        for inside in {""} | {f"{name}/" for name in follower.params if isinstance(follower.params, Mapping)}:
            one = {path: held.get(f"{part}/{inside}{rest}", -1) for path in wanted for part, _, rest in [path.partition("/")]}
            if all(i >= 0 and shapes[i] == wanted[path] for path, i in one.items()):
                found.append(one)
                break
    return found


def _words(normalisation: Mapping[str, list]) -> str:
    return f"mean {normalisation['mean']} and std {normalisation['std']}" if normalisation["mean"] else "nothing"
