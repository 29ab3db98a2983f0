"""What it saves to compute the teacher's outputs once."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax import augment, methods, models
from kdjax.core import Frozen, InputError, jit_fast_compile, pick, split
from kdjax.data import Dataset, Source, array_source, epochs, load, resident
from kdjax.data.load import FORMS
from kdjax.experiment import sections
from kdjax.experiment.data import AUGMENTATIONS
from kdjax.train import Pace, Stage, resolve, stack
from kdjax.train.block import block
from kdjax.train.devices import Devices, find_devices, place
from kdjax.train.optimiser import sgd
from kdjax.train.stage import blank_batch
from kdjax.train.teacher_cache.compute import teacher_outputs
from kdjax.train.teacher_cache.spec import TeacherCache, check_teacher_cache
from kdjax.train.teacher_cache.store import disk_bytes
from launch.bench.blank_run import blank_run
from launch.bench.table import table
from launch.run import cli

USAGE = f"""python launch/benchmark.py cache --source=<source> [--teacher=<net>] [--student=<net>] [--views=<number>] ...

  --source=<source>           what --config.data.source takes: {", ".join(FORMS)}; its training images are learnt from.
  --data-dir=<dir>            where prepared TFDS sets lie, for tfds:<name>.
  --image-size=<pixels>       the side to which every image is brought.
  --images=<number>           how many of the training images; default all. The time of the pass is in proportion to it.
  --batch=<images>            images a step; default 128.
  --teacher=<net>             default resnet20. Its weights are random: they do not change the time.
  --student=<net>             default conv_net.
  --teacher-widths=<numbers>  of a conv_net; default 32,64,128.
  --student-widths=<numbers>  of a conv_net; default 8,16.
  --augment=<name>            {", ".join(AUGMENTATIONS)}; default crop_flip.
  --views=<number>            in how many views every image comes back; default 4, without augmentation 1.
  --taps=<names>              what is kept besides the table's logits, for a line of its own: stage2,stage3.
  --top=<number>              how many logits are kept in the line of the largest ones; default 3.
  --seeds=<number>            students that learn side by side; default 1.
  --repeats=<number>          how often each way is measured, in turn; default 7. The times of steps are medians of these.
  --seconds=<number>          about how long one such part takes; default 2.
  --json                      a line of JSON for each way in place of the table.

The pass asks the teacher once for every view of every image; its time holds its compilation. `pays after` is how many epochs of
training save as much time as the pass takes.
"""
STEPS = 8  # in one compiled block


class Saving(NamedTuple):
    """What one way to ask the teacher costs.

    Attributes:
      way: its name.
      step_seconds: of one step of training, the median of the parts.
      parts: seconds a step in each part.
      pass_seconds: of the pass over all images and views; 0 where there is none.
      bytes: on disk.
      pays_after: epochs after which the pass is paid for; infinity where a step is not faster.
    """

    way: str
    step_seconds: float
    parts: list[float]
    pass_seconds: float = 0.0
    bytes: int = 0
    pays_after: float = 0.0


def main(words: Sequence[str]) -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    defaults = {
        "data-dir": "", "batch": "128", "teacher": "resnet20", "student": "conv_net", "teacher-widths": "32,64,128",
        "student-widths": "8,16", "augment": "crop_flip", "views": "", "taps": "", "top": "3", "seeds": "1", "repeats": "7",
        "seconds": "2", "source": None, "image-size": None, "images": None,
    }  # fmt: skip
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_args(words)
    if args.help:
        return print(USAGE)
    if not args.source:
        raise InputError("expected --source=<source>; --help tells more")
    numbers = {name: cli.whole(f"--{name}", getattr(args, name), 1) for name in ("batch", "top", "seeds", "repeats", "seconds")}
    views = cli.whole("--views", args.views or ("1" if args.augment == "none" else "4"), 1)
    size, images = (
        None if text is None else cli.whole(f"--{name}", text, 1)
        for name, text in (("image-size", args.image_size), ("images", args.images))
    )
    data = load(args.source, image_size=size, directory=args.data_dir, reader="resident")
    epochs(min(data.train.size, images or data.train.size), numbers["batch"])  # refuses a batch that is too large
    source = _few(data.train, images)
    nets = {side: _specification(side, args, data) for side in ("teacher", "student")}
    transforms = pick("augmentation", args.augment, AUGMENTATIONS)(min(data.shape[:2]))
    kinds = {"logits": {}, "logits, float16": {"dtype": "float16"}, f"{numbers['top']} largest logits": {"top": numbers["top"]}}
    if args.taps:
        taps = ("logits", *args.taps.split(","))
        kinds[", ".join(taps)] = {"taps": taps}
    caches = {
        way: TeacherCache(models.build(nets["teacher"]), views, classes=data.classes, drawn=args.augment != "none", **kind)
        for way, kind in kinds.items()
    }
    for kind in caches.values():
        try:
            check_teacher_cache(kind)
        except InputError as error:
            raise InputError(f"--{error}") from None
    one = _stage(nets, source, augment.per_image(*transforms), numbers)
    if not args.json:
        cli.tell(_head(args, data, source, nets, numbers["batch"], views, numbers["seeds"]))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(one, caches, Path(folder), repeats=numbers["repeats"], seconds=numbers["seconds"])
    for saving in found if args.json else ():
        told = {"source": args.source, "images": source.size, "views": views, "batch": numbers["batch"], "nets": nets}
        print(json.dumps({**saving._asdict(), **told, "cores": os.cpu_count(), "backend": jax.default_backend()}))
    if not args.json:
        print(_table(found))


def measure(one: Stage, caches: dict[str, TeacherCache], folder: Path, *, repeats: int, seconds: float) -> list[Saving]:
    """Every way by its name, the teacher asked at every step first; the parts of the ways take turns.

    Args:
      one: the stage without a `teacher_cache`.
      teacher_cache: the ways to keep outputs.
      folder: for the outputs.
      repeats: parts of each way.
      seconds: about how long a part takes.
    """
    devices = find_devices(count=1)
    given = one.given({})
    key = jax.random.key(0)
    passes, sizes, steppers = {}, {}, {"asked at every step": _stepper(one, given, {}, key, devices)}
    for number, (way, kept) in enumerate(caches.items()):
        stage = one._replace(teacher_cache=kept._replace(folder=str(folder / f"{number}")))
        began = time.perf_counter()
        outputs = teacher_outputs(way, stage, blank_run(folder / "run", devices), given, key)
        passes[way] = time.perf_counter() - began
        sizes[way] = disk_bytes(folder / f"{number}")
        steppers[way] = _stepper(stage, given, {"teacher": outputs.everything()}, key, devices)
    blocks = {way: max(1, round(seconds / (STEPS * step(1)))) for way, step in steppers.items()}
    parts: dict[str, list[float]] = {way: [] for way in steppers}
    for _ in range(repeats):
        for way, step in steppers.items():
            parts[way].append(step(blocks[way]))
    medians = {way: statistics.median(x) for way, x in parts.items()}
    assert one.source
    asked, per_epoch = next(iter(medians.values())), one.source.size // one.batch
    found = []
    for way, took in medians.items():
        saved = (asked - took) * per_epoch
        pays = passes.get(way, 0.0) / saved if saved > 0 else float("inf") if way in passes else 0.0
        found.append(Saving(way, took, parts[way], passes.get(way, 0.0), sizes.get(way, 0), pays))
    return found


def _stepper(one: Stage, given: dict[str, Frozen], more: dict, key: jax.Array, devices: Devices) -> Callable[[int], float]:
    """Makes `blocks -> seconds a step`, of training as the loop does it; compiled when this returns."""
    assert one.source
    arrays = place(resident(one.source) | more, devices)
    init = jit_fast_compile(lambda key: one.method.init(key, blank_batch(one), given))
    moving, frozen = split(stack([init(jax.random.key(i)) for i in range(one.members)]))
    compiled = block(one, stack([init(jax.random.key(0))] * one.members), resolve("auto", one.members), False, devices)
    held = {"moving": place(moving, devices, lead=1), "step": 0}
    rows, of = epochs(one.source.size, one.batch).rows, epochs(one.source.size, one.batch).epoch_of

    def run(blocks):
        began = time.perf_counter()
        for _ in range(blocks):
            steps = range(held["step"], held["step"] + STEPS)
            now, numbers = np.stack([rows(0, step) for step in steps]), np.array([of(step) for step in steps], np.int32)
            held["moving"], metrics = compiled(held["moving"], frozen, arrays, key, now, numbers, np.int32(steps[0]))
            held["step"] += STEPS
            jax.block_until_ready(metrics)
        return (time.perf_counter() - began) / (blocks * STEPS)

    run(1)
    return run


def _stage(nets: dict[str, dict], source: Source, transform: Callable, numbers: dict[str, int]) -> Stage:
    """Distillation as `methods.kd` does it, of a teacher with random weights."""
    student, teacher = (models.build(nets[side]) for side in ("student", "teacher"))
    image = np.zeros((1, *source.read(np.zeros(1, np.int32))["image"].shape[1:]), np.float32)
    params, stats = jax.jit(teacher.init)(jax.random.key(0), image)
    frozen = Frozen(params, stats, "random")
    return Stage(
        method=methods.kd(student, teacher, sgd(0.05, momentum=0.9, weight_decay=5e-4)),
        steps=1, batch=numbers["batch"], pace=Pace(1, 1, 1), nets={}, source=source, augment=transform,
        evaluate=lambda *_: {}, score="", given=lambda _: {"teacher": frozen}, members=numbers["seeds"],
    )  # fmt: skip


def _specification(side: str, args: Any, data: Dataset) -> dict:
    widths = tuple(cli.whole(f"--{side}-widths", x, 1) for x in getattr(args, f"{side}_widths").split(","))
    try:
        net = sections.training_section(getattr(args, side), epochs=1, optimiser={}, widths=widths)["net"]
    except InputError as error:
        raise InputError(f"--{side}: {error}") from None
    channels = data.shape[-1]
    return {**net, "classes": data.classes, "mean": [0.5] * channels, "std": [0.25] * channels}


def _few(source: Source, images: int | None) -> Source:
    if images is None or images >= source.size:
        return source
    found = source.read(np.arange(images))
    return array_source(found["image"], found["label"])


def _head(args: Any, data: Dataset, source: Source, nets: dict[str, dict], batch: int, views: int, seeds: int) -> str:
    sides = [net["name"] + (f" {tuple(net['widths'])}" if "widths" in net else "") for net in nets.values()]
    taught = " teaches ".join(sides) + (f" x {seeds}" if seeds > 1 else "")
    images = f"{source.size:,} images, {'x'.join(map(str, data.shape))}, {args.augment}"
    about = f"batch {batch}; {views} view{'s' * (views > 1)}; {os.cpu_count()} cores, {jax.default_backend()}"
    return f"{args.source}: {images}; {taught}; {about}"


def _table(found: Sequence[Saving]) -> str:
    """Markdown; ratios to the first line."""
    lines = [["what is kept", "a step", "of the first line", "the pass", "on disk", "pays after"]]
    for saving in found:
        ratio = saving.step_seconds / found[0].step_seconds
        line = [saving.way, f"{1e3 * saving.step_seconds:,.1f} ms", f"{ratio:.2f}"]
        kept = [f"{saving.pass_seconds:,.1f} s", f"{saving.bytes / 1e6:,.1f} MB", f"{saving.pays_after:.1f} epochs"]
        lines.append(line + (kept if saving.bytes else ["", "", ""]))
    return table(lines)
