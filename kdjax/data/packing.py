"""Writing a data set into a few large files that `array_record` reads fast."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.extra import extra
from kdjax.core.files import whole_folder
from kdjax.data.array_record import FORMAT, Contents, open_packed, sha256
from kdjax.data.damaged import Damaged
from kdjax.data.source import Opened, Source, further_columns
from kdjax.data.stream import stream

CHUNK = 64  # images a worker reads at once


def pack(
    opened: Opened,
    out: Path,
    *,
    source: str,
    image_size: int | None,
    encoding: str,
    quality: int,
    skip: bool,
    workers: int,
    shard_bytes: int,
    note: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> Contents:
    """Writes a packed set beside `out` and moves it there when it is whole.

    Args:
      opened: the set.
      out: a folder that is not there yet, or is empty.
      source: where the set comes from, for the record; `image_size` as well.
      image_size: the side that images were brought to, or None.
      encoding: `"raw"`, `"png"` or `"jpeg"`.
      quality: of jpeg.
      skip: leaves images out that cannot be decoded, rather than refuse them.
      workers: processes that decode and encode; 0: threads of this one.
      shard_bytes: how large a file becomes.
      note: told after each step how many images of a split are done, and of how many.

    Returns:
      What `dataset.json` says.

    Raises:
      InputError: for an `out` that holds something, or a split without an image that can be decoded.
      Damaged: for an image that cannot be decoded, unless `skip`.
    """
    check_target(out)
    with whole_folder(out) as folder:
        splits, skipped = {}, []
        for split, rows in opened.parts.items():
            shards, done = _Shards(folder, split, shard_bytes), 0
            columns = {name: _Column(folder / f"{split}-{name}.npy", rows.size, x) for name, x in _columns(rows).items()}
            for batch, damaged in stream(_reader(rows, encoding, quality, skip), start=0, stop=_chunks(rows), workers=workers):
                for record in batch["image"]:
                    shards.write(record)
                for name, column in columns.items():
                    column.write(batch[name])
                skipped += damaged
                done += len(batch["image"]) + len(damaged)
                note(split, done, rows.size)
            if not shards.count:
                raise InputError(f"{skipped[-1]}, nor can any other of the {rows.size} images of {split}")
            held = {name: column.close() for name, column in columns.items()}
            splits[split] = {"rows": shards.count, "labels": held.pop("labels"), "shards": shards.close()}
            splits[split] |= {"columns": held} if held else {}
        origin = {"source": source, "digest": opened.digest(), "image_size": image_size}
        origin |= {"exif_orientation": True} if opened.exif_orientation else {}
        origin |= {"quality": quality} if encoding == "jpeg" else {}
        contents = Contents(FORMAT, list(opened.names), list(opened.shape), encoding, splits, origin, skipped)
        (folder / "dataset.json").write_text(json.dumps(contents._asdict(), indent=1) + "\n")
        open_packed(str(folder))  # which compares what the files hold with what they should
        check_target(out)
    return contents


def check_target(out: Path) -> None:
    """Refuses a place that a set cannot be packed into.

    Raises:
      InputError: for a file, a folder that holds something, or one whose parent is not there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} {'holds files' if out.is_dir() else 'is a file'}: expected a folder that is not there, or is empty"
        )
    if not out.parent.is_dir():
        raise InputError(f"{out} cannot be written: the folder {out.parent} is not there")


class _Shards:
    """Writes records into files, each begun when the one before is full."""

    def __init__(self, folder: Path, split: str, most: int):
        self.folder, self.split, self.most = folder, split, most
        self.files: list[dict[str, Any]] = []
        self.writer: Any = None
        self.rows = self.bytes = self.count = 0

    def write(self, record: bytes) -> None:
        with extra("run"):
            from array_record.python.array_record_module import ArrayRecordWriter

        if self.writer is not None and self.bytes + len(record) > self.most:
            self._end()
        if self.writer is None:
            # Images in a file format are compressed already, and raw ones are meant to be read fast.
            self.writer = ArrayRecordWriter(str(self._path()), "group_size:1,uncompressed")
        self.writer.write(record)
        self.rows, self.bytes, self.count = self.rows + 1, self.bytes + len(record), self.count + 1

    def close(self) -> list[dict[str, Any]]:
        """Ends the last file; returns what `dataset.json` says of all."""
        self._end()
        return self.files

    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self.files):05d}.array_record"

    def _end(self) -> None:
        try:
            self.writer.close()
        except RuntimeError as error:
            raise InputError(f"{self._path()} cannot be written ({str(error).partition(';')[0]})") from None
        self.files.append(_entry(self._path(), self.rows))
        self.writer, self.rows, self.bytes = None, 0, 0


class _Column:
    """Writes a column into a file, of which there may be fewer rows than thought."""

    def __init__(self, file: Path, rows: int, like: np.ndarray):
        self.file, self.count = file, 0
        self.array = np.lib.format.open_memmap(file, "w+", like.dtype, (rows, *like.shape[1:]))

    def write(self, x: np.ndarray) -> None:
        self.array[self.count : self.count + len(x)] = x
        self.count += len(x)

    def close(self) -> dict[str, Any]:
        """Ends the file; returns what `dataset.json` says of it."""
        self.array.flush()
        if self.count < len(self.array):
            spare = self.file.with_suffix(".part")
            with spare.open("wb") as file:
                np.save(file, self.array[: self.count])
            spare.replace(self.file)
        return _entry(self.file, self.count)


def _columns(source: Source) -> dict[str, np.ndarray]:
    """What is kept beside the images, of no rows."""
    return {"labels": np.zeros(0, np.int32), **further_columns(source)}


def _entry(file: Path, rows: int) -> dict[str, Any]:
    return {"file": file.name, "rows": rows, "bytes": file.stat().st_size, "sha256": sha256(file)}


def _chunks(source: Source) -> int:
    return math.ceil(source.size / CHUNK)


def _reader(source: Source, encoding: str, quality: int, skip: bool) -> Callable[[int], tuple[dict[str, Any], list[str]]]:
    """A function of the number of a chunk: its records and the rows of its columns, and a line for each image left out."""

    def read(chunk: int) -> tuple[dict[str, Any], list[str]]:
        rows = np.arange(chunk * CHUNK, min(chunk * CHUNK + CHUNK, source.size))
        try:
            parts, lines = [source.read(rows)], []
        except Damaged:
            if not skip:
                raise
            parts, lines = _sound(source, rows)
        parts = [source.read(rows[:0]), *parts]  # where none of them can be decoded, there are columns of no rows
        batch = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        records = [_encoded(image, encoding, quality) for image in batch["image"]]
        return {**batch, "image": records, "labels": batch["label"]}, lines

    return read


def _sound(source: Source, rows: np.ndarray) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    parts, lines = [], []
    for row in rows:
        try:
            parts.append(source.read(np.array([row])))
        except Damaged as damaged:
            lines.append(damaged.what)
    return parts, lines


def _encoded(image: np.ndarray, encoding: str, quality: int) -> bytes:
    if encoding == "raw":
        return image.tobytes()
    with extra("run"):
        from PIL import Image

    file = io.BytesIO()
    options = {"quality": quality} if encoding == "jpeg" else {}
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, encoding, **options)
    return file.getvalue()
