"""Sets packed into shards of array_record by `launch/pack.py`.

A folder holds `dataset.json`, which `Contents` describes; shards, each record of which is one image; and for each split its
labels, and every further column, as an `.npy` file.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.extra import extra
from kdjax.core.files import read_json
from kdjax.core.paths import user_path
from kdjax.data.classes import check_classes
from kdjax.data.damaged import Damaged
from kdjax.data.image import decode, fit, unfilled
from kdjax.data.shards import Shard, check_shards, records_of
from kdjax.data.source import SEVERAL, Opened, Source

FORMAT = "kdjax packed images, 1"
SPLITS = ("train", "test", "val")
ENCODINGS = ("raw", "png", "jpeg")
_EXPECTED = "expected a folder that launch/pack.py wrote"
SMALL = 2**28  # bytes: sets up to here have the sha256 of all their files compared when they are opened


class Contents(NamedTuple):
    """`dataset.json`.

    Attributes:
      format: the constant of this file.
      names: the names of the classes; none where there are no labels.
      shape: `[H, W, C]` of one image.
      encoding: `raw` (the bytes of the uint8 array), `png` or `jpeg`.
      splits: for `train`, `test` and, where there is one, `val` a `{"rows", "labels": <file>, "shards": [<file>, ...]}`, where a
        file is `{"file", "rows", "bytes", "sha256"}`, and where there are further columns also `"columns": {<name>: <file>}`.
      origin: where the images come from: `{"source", "digest", "image_size"}`, and `"exif_orientation": true` where they were
        turned as that tag says. No record has the tag itself.
      skipped: one line for each image left out because it could not be decoded.
    """

    format: str
    names: list[str]
    shape: list[int]
    encoding: str
    splits: dict[str, Any]
    origin: dict[str, Any]
    skipped: list[str]


def open_packed(directory: str, image_size: int | None = None, *, verify: bool = False, exif_orientation: bool = False) -> Opened:
    """Opens a packed set; records are read and decoded when they are asked for, further columns read, labels lie in memory.

    The number of records and the size of every file are compared with `dataset.json`, and where all files take at most
    256 MiB their sha256.

    Args:
      directory: the folder that `launch/pack.py` wrote.
      image_size: the side to which every image is brought, or None to leave them as they are; not beside further columns of more
        than a number a row (masks, boxes), which would not move with the images; `classes` are at no place of them.
      verify: whether the sha256 are compared whatever their size.
      exif_orientation: whether images must have been turned as their EXIF orientation says, which is lost in packing.

    Returns:
      Opened.

    Raises:
      InputError: naming the file, what was found and what is accepted.
    """
    root = user_path(directory)
    contents = _contents(directory, root)
    parts = {name: contents.splits[name] for name in SPLITS if name in contents.splits}
    check_classes(f"array_record {root}", len(contents.names), parts["train"]["rows"], "dataset.json")
    files = [file for part in parts.values() for file in _files(part)]
    turned = contents.origin.get("exif_orientation") is True
    if exif_orientation and not turned:
        what = "exif_orientation=True is not accepted: its images were packed without that tag"
        raise InputError(f"array_record {root}: {what}; expected a set packed with --exif-orientation")
    for file in files:
        _check_size(root, file)
    if verify or sum(file["bytes"] for file in files) <= SMALL:
        for file in files:
            if sha256(root / file["file"]) != file["sha256"]:
                raise InputError(f"file {root / file['file']} is damaged: its sha256 is not that of dataset.json")
    side = contents.shape[:2] if image_size is None else [image_size, image_size]
    shape = (side[0], side[1], contents.shape[2])
    sources = {name: _source(root, contents, part, image_size) for name, part in parts.items()}
    stamp = [contents.names, contents.encoding, contents.shape, [file["sha256"] for file in files], shape]
    stamp += ["exif_orientation"] * turned

    def digest() -> str:
        return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()

    return Opened(
        sources["train"], sources["test"], tuple(contents.names), shape, digest, val=sources.get("val"), exif_orientation=turned
    )  # fmt: skip


def sha256(file: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _contents(directory: str, root: Path) -> Contents:
    if not directory:
        raise InputError("array_record: no directory is named; expected array_record:<dir>")
    if not root.is_dir():
        raise InputError(f"array_record {root}: {'is a file' if root.is_file() else 'no such directory'}; {_EXPECTED}")
    file = root / "dataset.json"
    try:
        found = read_json(file)
    except FileNotFoundError:
        of_tfds = any(any(root.glob(f"{above}dataset_info.json")) for above in ("", "*/", "*/*/"))
        hint = "; tfds:<name> reads a set of TFDS" if of_tfds else ""
        raise InputError(f"array_record {root}: holds no dataset.json; {_EXPECTED}{hint}") from None
    except InputError as error:
        why = "dataset.json is damaged" if " is damaged: " in str(error) else f"dataset.json {str(error).removeprefix(f'{file} ')}"
        raise InputError(f"array_record {root}: {why}; {_EXPECTED}") from None
    try:
        known = found["format"]
        contents = Contents(**found)
        for name in ("train", "test", *({"val"} & set(contents.splits))):
            _check_part(contents.splits[name])
        whole = len(contents.shape) == 3 and all(_is_count(side) for side in contents.shape)
        whole = whole and isinstance(contents.origin, dict)
        if not whole or contents.encoding not in ENCODINGS or not all(isinstance(name, str) for name in [*contents.names]):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"array_record {root}: dataset.json is damaged; {_EXPECTED}") from None
    if known != FORMAT:
        raise InputError(f"array_record {root}: is of the format {known!r}; expected {FORMAT!r}")
    return contents


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _check_part(part: dict[str, Any]) -> None:
    for file in _files(part):
        counts = _is_count(file["rows"]) and _is_count(file["bytes"])
        if Path(file["file"]).name != file["file"] or "\0" in file["file"] or not counts or len(file["sha256"]) != 64:
            raise ValueError
    rows = {part["labels"]["rows"], sum(shard["rows"] for shard in part["shards"])}
    if {part["rows"]} != rows | {file["rows"] for file in part.get("columns", {}).values()}:
        raise ValueError


def _files(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [part["labels"], *part["shards"], *part.get("columns", {}).values()]


def _check_size(root: Path, file: dict[str, Any]) -> None:
    path = root / file["file"]
    if not path.is_file():
        raise InputError(f"array_record {root}: {file['file']} is missing, which dataset.json names")
    if (size := path.stat().st_size) != file["bytes"]:
        raise InputError(f"array_record {root}: {file['file']} has {size} bytes, dataset.json says {file['bytes']}: pack it again")


def _source(root: Path, contents: Contents, part: dict[str, Any], image_size: int | None) -> Source:
    with extra("run"):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

    shards = [Shard(str(root / shard["file"]), shard["rows"]) for shard in part["shards"]]
    check_shards(shards)
    records = records_of(ArrayRecordDataSource([f"{shard.path}[0:{shard.rows}]" for shard in shards]), shards)
    labels = _labels(root, part, len(contents.names))
    columns = {name: root / file["file"] for name, file in part.get("columns", {}).items()}
    height, width, channels = contents.shape
    wanted = (height, width, channels) if image_size is None else (image_size, image_size, channels)
    for name, file in columns.items():
        placed = name != SEVERAL and _column(file, part["rows"]).ndim > 1
        if image_size is not None and wanted != (height, width, channels) and placed:
            what = f"image_size={image_size} is not accepted: {name!r} would not move with the images"
            raise InputError(f"array_record {root}: {what}; expected a set packed in the size it is used in")
    shape = (height, width, channels)

    def read(rows):
        images = unfilled(len(rows), wanted)
        for at, (row, record) in enumerate(zip(rows, records.read(rows), strict=True)):
            name = records.name(int(row))
            image = _decode(record, contents.encoding, shape, name, at)
            images[at] = fit(image, wanted, image_size, name, others="what dataset.json says")
        index = np.asarray(rows, np.int32)
        # Opened at each reading: a worker process would get a file that is open as all its numbers.
        further = {name: np.array(_column(file, part["rows"])[index]) for name, file in columns.items()}
        return {"image": images, "label": labels[index], "index": index, **further}

    return Source(records.size, read, labels.copy)


def _decode(record: bytes, encoding: str, shape: tuple[int, int, int], name: str, row: int) -> np.ndarray:
    if encoding != "raw":
        return decode(record, name, row)
    if len(record) != math.prod(shape):
        raise Damaged(f"{name}: cannot be read (it has {len(record)} bytes, expected {math.prod(shape)})", row)
    return np.frombuffer(record, np.uint8).reshape(shape)


def _column(file: Path, rows: int) -> np.ndarray:
    """A further column, on disk."""
    try:
        column = np.load(file, mmap_mode="r", allow_pickle=False)
        whole = column.ndim >= 1 and len(column) == rows and column.dtype.kind in "biuf"
    except Exception:  # a forged header reaches Python's own parser
        whole = False
    if not whole:
        raise InputError(f"file {file} is damaged: expected {rows} rows of numbers")
    return column


def _labels(root: Path, part: dict[str, Any], classes: int) -> np.ndarray:
    file = root / part["labels"]["file"]
    try:
        labels = np.load(file, mmap_mode="r", allow_pickle=False)  # what it declares is not read before it is found right
        whole = labels.dtype == np.int32 and labels.shape == (part["rows"],)
    except Exception:  # a forged header reaches Python's own parser
        whole = False
    if not whole:
        raise InputError(f"array_record {root}: {file.name} is damaged: expected {part['rows']} labels, int32")
    labels = np.array(labels)
    if not -1 <= labels.min() <= labels.max() < classes:
        held = labels.min() if labels.min() < -1 else labels.max()
        wanted = f"0 to {classes - 1}, the classes of dataset.json" if classes else "-1 alone, as dataset.json names no classes"
        raise InputError(f"array_record {root}: {file.name} holds {held}: expected {wanted}")
    return labels
