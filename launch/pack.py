"""Packs a data set into a few large files that are read fast.

python launch/pack.py folder:photos packed/photos --image-size=256 --encoding=jpeg
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from kdjax.core import InputError, nearest
from kdjax.core.paths import user_path
from kdjax.data import Damaged
from kdjax.data.array_record import ENCODINGS, Contents, open_packed
from kdjax.data.load import CORRUPT, FORMS, open_source
from kdjax.data.packing import check_target, pack
from kdjax.data.source import Opened
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
    check_target(out)
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
        contents = _pack(opened, out, source=args.source, image_size=size, encoding=args.encoding, quality=quality, skip=skip,
                         workers=workers, shard_bytes=shard << 20)  # fmt: skip
    except Damaged as damaged:
        raise InputError(f"{damaged.what}; --corrupt=skip leaves it out") from None
    except InputError as error:
        raise InputError(_in_our_words(str(error))) from None
    rows = {split: part["rows"] for split, part in contents.splits.items()}
    mib = sum(shard["bytes"] for part in contents.splits.values() for shard in part["shards"]) / 2**20
    cli.tell(f"{args.out}: {_counted(rows)}, {mib:,.1f} MiB as {args.encoding}")
    for line in opened.notes:
        cli.tell(line)
    if contents.skipped:
        cli.tell(f"{len(contents.skipped)} left out, listed in its dataset.json; the first: {contents.skipped[0]}")


def _pack(opened: Opened, out: Path, **options: Any) -> Contents:
    """Packs with a bar a split."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def note(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = progress.add_task(f"packing {split}", total=total)
            progress.update(tasks[split], completed=done)

        return pack(opened, out, **options, note=note)


def _counted(rows: Mapping[str, int]) -> str:
    """`16 images to train, 4 to test`."""
    return ", ".join(f"{count}{' images' * (name == 'train')} to {_PURPOSE[name]}" for name, count in rows.items())


def _in_our_words(line: str) -> str:
    """A refusal of `load` with the flags of this program."""
    for field, flag in (("config.data.image_size", "image-size"), ("config.data.dir", "data-dir")):
        line = line.replace(f"--{field}", f"--{flag}")
    return line.replace("exif_orientation=True", "--exif-orientation")


if __name__ == "__main__":
    cli.run(main)
