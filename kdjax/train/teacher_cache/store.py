"""Arrays on disk that are written once, row after row, and read by row: `[views, rows, ...]` each, in zarr by tensorstore."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core import InputError
from kdjax.core.extra import extra
from kdjax.core.files import read_json, write_json

FORMAT = "kdjax teacher outputs, 1"
BLOCK_BYTES = 2**26  # about as much is written at a time
READ_BYTES = 2**13  # about as much is read for one row: the rows of a batch lie anywhere


class Manifest(NamedTuple):
    """`manifest.json`, which is written anew after every block of rows: what it counts is whole on disk.

    Attributes:
      format: the constant of this file.
      fingerprint: what the arrays follow from, by name.
      rows: how many there will be.
      done: how many there are.
      block: rows written at a time.
      arrays: by name `{"folder", "shape", "dtype"}`.
    """

    format: str
    fingerprint: dict[str, Any]
    rows: int
    done: int
    block: int
    arrays: dict[str, dict[str, Any]]

    @property
    def whole(self) -> bool:
        """Whether nothing is left to be written."""
        return self.done == self.rows


class Store(NamedTuple):
    """Arrays to be read by any thread; another process opens them for itself when this is sent to it.

    Attributes:
      folder: where they lie.
      arrays: by name a tensorstore of `[views, rows, ...]`.
    """

    folder: Path
    arrays: dict[str, Any]

    @property
    def row_bytes(self) -> int:
        """Of one row in one view."""
        return sum(math.prod(x.shape[2:]) * x.dtype.numpy_dtype.itemsize for x in self.arrays.values())

    def read(self, views: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Some rows, `{name: [*rows.shape, ...]}`; `views` are of a shape that broadcasts to that of `rows`.

        Raises:
          InputError: where they are missing or damaged.
        """
        return self._read(lambda x: x[np.broadcast_to(views, rows.shape), rows])

    def everything(self) -> dict[str, np.ndarray]:
        """All rows in all views, `{name: [views, rows, ...]}`.

        Raises:
          InputError: where some are missing or damaged.
        """
        return self._read(lambda x: x)

    def _read(self, part):
        waiting = {name: part(x).read() for name, x in self.arrays.items()}
        found = {}
        for name, x in waiting.items():
            try:
                found[name] = x.result()
            except Exception as error:  # tensorstore raises many kinds
                raise InputError(
                    f"teacher outputs in {self.folder} are damaged: {name} ({_reason(error)}); remove that folder"
                ) from None
        return found


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none, and nothing else either.

    Raises:
      InputError: when it is damaged, or the folder holds something else.
    """
    file = folder / "manifest.json"
    if not file.is_file():
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: expected a folder of teacher outputs, or a new one")
        strange = [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.exists() else []
        if strange:
            raise InputError(f"{folder} holds {strange[0]!r} and no teacher outputs: expected an empty folder or a new one")
        return None
    found = read_json(file, "remove its folder, and the outputs are computed again")
    try:
        if found["format"] != FORMAT:
            raise InputError(f"{file} is of the format {found['format']!r}: expected {FORMAT!r}")
        return Manifest(**found)
    except (KeyError, TypeError):
        raise InputError(f"{file} is damaged: remove its folder, and the outputs are computed again") from None


def begin(folder: Path, fingerprint: Mapping[str, Any], shapes: Mapping[str, jax.ShapeDtypeStruct]) -> Manifest:
    """Makes arrays without rows.

    Args:
      folder: not there, empty, or with a manifest that counts no rows.
      fingerprint: JSON values by name.
      shapes: `[views, rows, ...]` by name.
    """
    views, rows = next(iter(shapes.values())).shape[:2]
    one = views * sum(_row_bytes(x) for x in shapes.values())
    block = min(_power_of_two(BLOCK_BYTES // one), 1 << (rows - 1).bit_length())
    arrays = {
        name: {"folder": f"{i:02d}", "shape": list(x.shape), "dtype": np.dtype(x.dtype).name}
        for i, (name, x) in enumerate(shapes.items())
    }
    manifest = Manifest(FORMAT, dict(fingerprint), rows, 0, block, arrays)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, manifest)
    for about in arrays.values():
        _open(folder, about, block=block)
    return manifest


def append(folder: Path, manifest: Manifest, rows: Mapping[str, np.ndarray]) -> Manifest:
    """Writes the next rows: `manifest.block` of them, or what is left.

    Args:
      folder: where the arrays are.
      manifest: what is there.
      rows: `{name: [views, n, ...]}`.

    Returns:
      the manifest with them.
    """
    end = min(manifest.done + manifest.block, manifest.rows)
    arrays = {name: _open(folder, about) for name, about in manifest.arrays.items()}
    for written in [x[:, manifest.done : end].write(rows[name]) for name, x in arrays.items()]:
        written.result()
    manifest = manifest._replace(done=end)
    _write(folder, manifest)
    return manifest


def open_store(folder: Path, manifest: Manifest) -> Store:
    """Opens arrays to read them, those rows that the manifest counts.

    Raises:
      InputError: when one is missing or is not as the manifest says.
    """
    arrays = {}
    for name, about in manifest.arrays.items():
        try:
            arrays[name] = _open(folder, about, write=False)
        except Exception as error:  # tensorstore raises many kinds
            raise InputError(f"teacher outputs in {folder} are damaged: {name} ({_reason(error)}); remove that folder") from None
    return Store(folder, arrays)


def disk_bytes(folder: Path) -> int:
    """The size of all files of a folder."""
    return sum(os.path.getsize(os.path.join(root, file)) for root, _, files in os.walk(folder) for file in files)


def _open(folder: Path, about: Mapping[str, Any], *, block: int = 0, write: bool = True) -> Any:
    """One array; with `block` it is made. Each piece has a checksum that is compared when it is read, and none may be missing."""
    with extra("run"):
        import tensorstore as ts

    shape, dtype = tuple(about["shape"]), about["dtype"]
    spec: dict[str, Any] = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str((folder / about["folder"]).absolute())},
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
        "schema": {"dtype": dtype, "domain": {"shape": shape}},
    }
    if not block:
        return ts.open(spec, open=True, read=not write, write=write).result()
    few = min(block, _power_of_two(READ_BYTES // _row_bytes(jax.ShapeDtypeStruct(shape, dtype))))
    inner = {
        "chunk_shape": [1, few, *shape[2:]],
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
    }
    spec["metadata"] = {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, block, *shape[2:]]}},
        "codecs": [{"name": "sharding_indexed", "configuration": inner}],
    }
    return ts.open(spec, create=True, delete_existing=True).result()


def _write(folder: Path, manifest: Manifest) -> None:
    write_json(folder / "manifest.json", manifest._asdict())


def _row_bytes(x: Any) -> int:
    return math.prod(x.shape[2:]) * np.dtype(x.dtype).itemsize


def _power_of_two(n: int) -> int:
    """The largest one that is at most n, from 1 to 65536: blocks are then multiples of what is read at a time."""
    return 1 << (min(max(n, 1), 2**16).bit_length() - 1)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
