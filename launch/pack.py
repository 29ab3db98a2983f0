"""Packs a data set into a few large files that are read fast.

python launch/pack.py folder:photos packed/photos --image-size=256 --encoding=jpeg
"""

import io
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kdjax.core import InputError, nearest
from kdjax.core.files import whole_folder
from kdjax.core.paths import user_path
from kdjax.data import Damaged, Source
from kdjax.data.array_record import ENCODINGS, FORMAT, Contents, open_packed, sha256
from kdjax.data.load import CORRUPT, FORMS, open_source
from kdjax.data.source import Opened, further_columns
from kdjax.data.stream import stream
from launch.run import cli

USAGE = f"""python launch/pack.py <source> <out dir> [--image-size=<pixels>] [--encoding=raw|png|jpeg] [--corrupt=stop|skip] ...
python launch/pack.py --check <packed dir>

  <source>               what --config.data.source takes: {", ".join(FORMS)}.
  <out dir>              a folder that is not there yet, or is empty; it is written whole or not at all.
                         Train from it with --config.data.source=array_record:<out dir>.
  --image-size=<pixels>  the side to which every image is brought (shorter side resized, centre cut out); needed where
                         images have several sizes.
  --exif-orientation     turns images as the EXIF orientation says that cameras write; packed images have no such tag.
  --encoding=<name>      raw: lossless, largest, fastest to read; the default. png: lossless, smaller, slower.
                         jpeg: smallest, loses a little.
  --quality=<1 to 100>   of jpeg; default 95.
  --corrupt=<policy>     stop refuses an image that cannot be decoded, the default; skip leaves it out and counts it.
  --workers=<number>     processes that decode and encode; 0 is this one, with threads; the default.
  --shard-size=<MiB>     how large one file becomes; default 256.
  --data-dir=<dir>       where prepared TFDS sets lie, for tfds:<name>.
  --check                reads a packed set and compares the sha256 of all its files.
"""
_PURPOSE = {"train": "train", "test": "test", "val": "validate"}
CHUNK = 64  # images a worker reads at once


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("source", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--image-size")
    parser.add_argument("--exif-orientation", action="store_true")
    parser.add_argument("--encoding", default="raw")
    parser.add_argument("--quality")
    parser.add_argument("--corrupt", default="stop")
    parser.add_argument("--workers", default="0")
    parser.add_argument("--shard-size", default="256")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if args.check:
        if not args.source or args.out:
            raise InputError("--check expects one packed folder; --help tells more")
        opened = open_packed(args.source.removeprefix("array_record:"), verify=True)
        return cli.tell(
            f"{args.source}: {_counted({name: part.size for name, part in opened.parts.items()})}, all files as they were written"
        )
    if not args.source or not args.out:
        raise InputError("expected a data source and a folder to write; --help tells more")
    for name, value, accepted in (("encoding", args.encoding, ENCODINGS), ("corrupt", args.corrupt, CORRUPT)):
        if value not in accepted:
            raise InputError(f"--{name}={value!r} is not accepted: expected one of {nearest(value, accepted)}")
    if args.quality is not None and args.encoding != "jpeg":
        raise InputError(f"--quality={args.quality} is not accepted with --encoding={args.encoding}: it is for jpeg")
    quality = cli.whole("--quality", args.quality or "95", 1, 100)
    size = None if args.image_size is None else cli.whole("--image-size", args.image_size, 1, 65_500)
    workers, shard = cli.whole("--workers", args.workers, 0, 1024), cli.whole("--shard-size", args.shard_size, 1, 2**20)
    out = user_path(args.out).resolve()
    _check_target(out)
    skip = args.corrupt == "skip"
    try:
        opened = open_source(
            args.source, image_size=size, directory=args.data_dir, corrupt=args.corrupt,
            exif_orientation=args.exif_orientation, every=True,
        )  # fmt: skip
        if len(opened.shape) != 3 or opened.train.read(np.zeros(0, np.int32))["label"].ndim != 1:
            raise InputError(f"{args.source} is not packed: expected images with a label each at most; npz:<path> is read as it is")
        if args.encoding != "raw" and opened.shape[2] not in (1, 3):
            raise InputError(
                f"--encoding={args.encoding} is not accepted: the images have {opened.shape[2]} channels; accepted: raw"
            )
        contents = pack(opened, out, source=args.source, image_size=size, encoding=args.encoding, quality=quality, skip=skip,
                        workers=workers, shard_bytes=shard << 20)  # fmt: skip
    except Damaged as damaged:
        raise InputError(f"{damaged.what}; --corrupt=skip leaves it out") from None
    except InputError as error:
        raise InputError(_in_our_words(str(error))) from None
    rows = {split: part["rows"] for split, part in contents.splits.items()}
    mib = sum(shard["bytes"] for part in contents.splits.values() for shard in part["shards"]) / 2**20
    cli.tell(f"{args.out}: {_counted(rows)}, {mib:,.1f} MiB as {args.encoding}")
    for note in opened.notes:
        cli.tell(note)
    if contents.skipped:
        cli.tell(f"{len(contents.skipped)} left out, listed in its dataset.json; the first: {contents.skipped[0]}")


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
) -> Contents:
    """Writes a packed set beside `out` and moves it there when it is whole."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with whole_folder(out) as folder:
        splits, skipped = {}, []
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for split, rows in opened.parts.items():
                task = progress.add_task(f"packing {split}", total=rows.size)
                shards = _Shards(folder, split, shard_bytes)
                columns = {name: _Column(folder / f"{split}-{name}.npy", rows.size, x) for name, x in _columns(rows).items()}
                for batch, damaged in stream(_reader(rows, encoding, quality, skip), start=0, stop=_chunks(rows), workers=workers):
                    for record in batch["image"]:
                        shards.write(record)
                    for name, column in columns.items():
                        column.write(batch[name])
                    skipped += damaged
                    progress.advance(task, len(batch["image"]) + len(damaged))
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
        _check_target(out)
    return contents


def _counted(rows: Mapping[str, int]) -> str:
    """`16 images to train, 4 to test`."""
    return ", ".join(f"{count}{' images' * (name == 'train')} to {_PURPOSE[name]}" for name, count in rows.items())


class _Shards:
    """Writes records into files, each begun when the one before is full."""

    def __init__(self, folder: Path, split: str, most: int):
        self.folder, self.split, self.most = folder, split, most
        self.files: list[dict[str, Any]] = []
        self.writer: Any = None
        self.rows = self.bytes = self.count = 0

    def write(self, record: bytes) -> None:
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
    from PIL import Image

    file = io.BytesIO()
    options = {"quality": quality} if encoding == "jpeg" else {}
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, encoding, **options)
    return file.getvalue()


def _check_target(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} {'holds files' if out.is_dir() else 'is a file'}: expected a folder that is not there, or is empty"
        )
    if not out.parent.is_dir():
        raise InputError(f"{out} cannot be written: the folder {out.parent} is not there")


def _in_our_words(line: str) -> str:
    """A refusal of `load` with the flags of this program."""
    for field, flag in (("config.data.image_size", "image-size"), ("config.data.dir", "data-dir")):
        line = line.replace(f"--{field}", f"--{flag}")
    return line.replace("exif_orientation=True", "--exif-orientation")


if __name__ == "__main__":
    cli.run(main)
