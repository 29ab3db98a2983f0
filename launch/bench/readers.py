"""Images a second of each way to read a data set."""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core.check import InputError
from kdjax.core.paths import read_number
from kdjax.data import Dataset, Sampler, Source, array_source, epochs, load, resident, stream, take
from kdjax.data.load import FORMS
from launch.bench.table import table
from launch.run import cli

USAGE = f"""python launch/benchmark.py readers --source=<source> [--image-size=<pixels>] [--batch=<images>] ...

  --source=<source>      what --config.data.source takes: {", ".join(FORMS)}; its training images are read, in random order.
  --data-dir=<dir>       where prepared TFDS sets lie, for tfds:<name>.
  --image-size=<pixels>  the side to which every image is brought.
  --batch=<images>       images a batch; default 128.
  --seconds=<number>     how long each way is measured, in three parts; default 5.
  --threads=<numbers>    how many threads read ahead; default 0,1,4, where 0 reads a batch when it is asked for.
  --workers=<numbers>    how many processes read ahead; default 0,1,2, where 0 measures nothing.
  --json                 a line of JSON for each way in place of the table.

Each number is the median of the three parts; the time until the first batch is there, in which processes start, is told beside it.
"""
HELD = 2**28  # bytes of decoded images that the readers in memory hold, for comparison
PARTS = 3
ENDLESS = 2**31


class Speed(NamedTuple):
    """How fast a way to read is.

    Attributes:
      reader: its name.
      images_per_second: the median of the parts.
      parts: images a second in each part.
      first_seconds: from the start to the first batch.
    """

    reader: str
    images_per_second: float
    parts: list[float]
    first_seconds: float


def main(words: Sequence[str]) -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--source")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--image-size")
    parser.add_argument("--batch", default="128")
    parser.add_argument("--seconds", default="5")
    parser.add_argument("--threads", default="0,1,4")
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_args(words)
    if args.help:
        return print(USAGE)
    if not args.source:
        raise InputError("expected --source=<source>; --help tells more")
    size = None if args.image_size is None else cli.whole("--image-size", args.image_size, 1)
    batch, seconds = cli.whole("--batch", args.batch, 1), _seconds(args.seconds)
    threads, workers = ([cli.whole(f"--{n}", x, 0) for x in getattr(args, n).split(",")] for n in ("threads", "workers"))
    try:
        data = load(args.source, image_size=size, directory=args.data_dir, reader="streaming")
        epochs(data.train.size, batch)
        if not args.json:
            cli.tell(_head(args.source, data, batch))
        speeds = []
        for name, start in ways(data, batch, threads, [n for n in workers if n]).items():
            speeds.append(measure(name, start, batch, seconds))
            if args.json:
                told = {"source": args.source, "shape": data.shape, "batch": batch, "cores": os.cpu_count()}
                print(json.dumps({**speeds[-1]._asdict(), **told}), flush=True)
    except InputError as error:
        line = str(error).replace("--config.data.image_size", "--image-size").replace("--config.data.dir", "--data-dir")
        raise InputError(line) from None
    if not args.json:
        print(_table(speeds))


def ways(data: Dataset, batch: int, threads: Sequence[int], workers: Sequence[int]) -> dict[str, Callable[[], Generator]]:
    """Every way to read batches by its name, plain NumPy first: functions that start to read, without end."""
    most = max(HELD // math.prod(data.shape), batch)
    source = data.train
    held = _held(source, min(source.size, most))
    few, all_rows = epochs(held.size, batch), epochs(source.size, batch)
    arrays = held.read(np.arange(held.size))
    images, labels = arrays["image"], arrays["label"]
    found = {
        "NumPy arrays, indexed": lambda: _each(lambda i: (images[few.rows(0, i)], labels[few.rows(0, i)])),
        "in memory, Source.read": lambda: _each(_reader(held, few)),
        "on the device, cut inside jit": lambda: _on_device(held, few),
    }
    for n in threads:
        found[f"streaming, {n} thread{'s' * (n != 1)}"] = _streaming(source, all_rows, threads=n)
    for n in workers:
        found[f"streaming, {n} worker{'s' * (n != 1)}"] = _streaming(source, all_rows, workers=n)
    return found


def measure(name: str, start: Callable[[], Generator], batch: int, seconds: float) -> Speed:
    """Reads for some seconds, after the batches that were read ahead while the reader started."""
    began = time.perf_counter()
    parts = []
    with closing(start()) as batches:
        next(batches)
        first = time.perf_counter() - began
        for _ in range(4):  # read while the first one was
            next(batches)
        for _ in range(PARTS):
            count, began = 0, time.perf_counter()
            while (spent := time.perf_counter() - began) < seconds / PARTS:
                next(batches)
                count += batch
            parts.append(count / spent)
    return Speed(name, statistics.median(parts), parts, first)


def _held(source: Source, count: int) -> Source:
    """The first rows of a source, decoded."""
    spans = [np.arange(i, min(i + 64, count)) for i in range(0, count, 64)]
    with closing(stream(lambda i: source.read(spans[i]), start=0, stop=len(spans))) as read:
        found = list(read)
    return array_source(*(np.concatenate([x[name] for x in found]) for name in ("image", "label")))


def _reader(source: Source, sampler: Sampler) -> Callable[[int], Any]:
    return lambda i: source.read(sampler.rows(0, i))


def _each(read: Callable[[int], Any]) -> Generator:
    for i in range(ENDLESS):
        yield read(i)


def _on_device(source: Source, sampler: Sampler) -> Generator:
    arrays, cut = resident(source), jax.jit(take)
    return _each(lambda i: jax.block_until_ready(cut(arrays, sampler.rows(0, i))))


def _streaming(source: Source, sampler: Sampler, **options: int) -> Callable[[], Generator]:
    return lambda: stream(_reader(source, sampler), start=0, stop=ENDLESS, **options)


def _head(source: str, data: Dataset, batch: int) -> str:
    side = "x".join(map(str, data.shape))
    return f"{source}: {data.train.size:,} training images, {side}; batch {batch}; {os.cpu_count()} cores, {jax.default_backend()}"


def _table(speeds: Sequence[Speed]) -> str:
    """Markdown; ratios to the first line."""
    lines = [["reader", "images/s", "of NumPy's", "first batch"]]
    for s in speeds:
        ratio = s.images_per_second / speeds[0].images_per_second
        lines.append([s.reader, f"{s.images_per_second:,.0f}", f"{ratio:.3g}", f"{s.first_seconds:.2f} s"])
    return table(lines)


def _seconds(text: str) -> float:
    value = read_number(text)
    if value is None or not 0 < value < 86_400:
        raise InputError(f"--seconds={text!r} is not accepted: expected a number above 0")
    return value
