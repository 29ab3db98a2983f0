"""The weights in an Orbax checkpoint, whoever wrote it."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.core import InputError
from kdjax.core.printable import printable
from kdjax.models.pretrained import nested
from kdjax.train.manifest import check_claim
from kdjax.train.quiet import quieten_orbax

_STATS = {"batch_stats": "stats/batch_stats", "stats": "stats"}


def read_orbax(folder: Path) -> dict[str, np.ndarray] | None:
    """Parameters and statistics by path, `params/<path>` and `stats/<path>`; nothing else is read.

    Taken are the `params` that lie nearest to the root of the tree, with `batch_stats` or `stats` beside them; a tree without
    `params` is taken for parameters alone. Of a folder of steps the last one is read.

    Args:
      folder: a checkpoint, as `StandardCheckpointer` and `PyTreeCheckpointer` write it, or the folder of a `CheckpointManager`.

    Returns:
      NumPy arrays, whatever devices they were saved from; None where the folder holds no Orbax checkpoint.

    Raises:
      InputError: one line that says why it cannot be read.
    """
    import orbax.checkpoint as ocp

    quieten_orbax()
    try:
        places = _places(folder)
        if not places:
            return None
        with ocp.PyTreeCheckpointer() as reader:
            handler: Any = ocp.PyTreeCheckpointHandler()  # a checkpointer would warn of what is not there
            trees = {item: handler.metadata(place.absolute()).tree for item, place in places.items()}
            wanted = _weights(trees)
            sizes = [math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for _, leaf in wanted.values()]
            check_claim("it", sum(sizes), folder)
            found = {
                item: _restore(reader, place, [x for x in wanted.values() if x[0][0] == item]) for item, place in places.items()
            }
    except InputError as error:
        raise InputError(printable(f"{folder} is refused: {error}")) from None
    except Exception as error:  # Orbax and tensorstore raise many kinds; all mean that the files cannot be read
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{folder} is refused: it cannot be read as an Orbax checkpoint ({reason[0][:160]})") from error
    return {name: _at(found, at) for name, (at, _) in wanted.items()}


def _restore(reader: Any, place: Path, wanted: list) -> Any:
    """Some leaves of one tree, as NumPy arrays: neither the optimiser's state nor the devices of the writer are needed."""
    import orbax.checkpoint as ocp

    if not wanted:
        return {}
    shapes = nested({"/".join(at[1:]): jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for at, leaf in wanted})
    kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
    return reader.restore(place, args=ocp.args.PyTreeRestore(item=shapes, restore_args=kinds, partial_restore=True))


def _places(folder: Path) -> dict[str, Path]:
    """The trees of the last step, by the names of their items; a checkpoint without items is one named by nothing."""
    while steps := [p for p in folder.iterdir() if p.is_dir() and p.name.isdecimal()]:
        folder = max(steps, key=lambda p: int(p.name))
    if (folder / "_METADATA").is_file():
        return {"": folder}
    if (folder / "manifest").is_dir():
        raise InputError("it lies inside a run's folder: expected that folder itself")
    return {p.name: p for p in sorted(folder.iterdir()) if (p / "_METADATA").is_file()}


def _weights(trees: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """`{params/<path> or stats/<path>: (where it is, what is known of it)}`."""
    at = _holder(trees)
    if at is None:
        if len(trees) > 1:
            raise InputError(f"none of its trees ({', '.join(trees)}) holds params")
        (item,) = trees
        parts = {(item,): "params"}
    else:
        parts = {(*at, "params"): "params"} | {(*at, name): ours for name, ours in _STATS.items() if name in _at(trees, at)}
    return {
        "/".join((ours, *path)): ((*above, *path), leaf)
        for above, ours in parts.items()
        for path, leaf in _leaves(_at(trees, above))
    }


def _holder(trees: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The path of the mapping that holds `params`, nearest to the root; of `params` in `params` it is the inner one."""
    level: list[tuple[tuple[str, ...], Any]] = [((), trees)]
    while level:
        for path, node in level:
            if isinstance(node.get("params"), Mapping):
                while isinstance(node["params"].get("params"), Mapping):
                    path, node = (*path, "params"), node["params"]
                return path
        level = [((*path, k), x) for path, node in level for k, x in node.items() if isinstance(x, Mapping)]
    return None


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for name, inside in tree.items():
            yield from _leaves(inside, (*path, name))
    elif tree is not None:
        yield path, tree


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree
