"""Classifies images with a trained network.

python launch/predict.py runs/quickstart image.png folder/ --top=3
"""

import csv
import io
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np

from kdjax import models
from kdjax.core import InputError, Net, check_memory
from kdjax.core.files import parse_json, read_json, write_text
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from kdjax.data import Damaged
from kdjax.data.classes import some
from kdjax.data.image import TYPES, decode
from kdjax.experiment.data import view
from kdjax.train.load import read_run
from kdjax.train.teacher import read_teacher
from launch.run import cli

USAGE = """python launch/predict.py <run> <image or folder> ... [--stage=<name>] [--seed=<number>] [--top=<k>] [--csv=<file>]

  <run>            a folder that launch/main.py wrote, or a file of its export/: <run>/export/student/seed0.safetensors.
  <image>          png, jpg, bmp ...; resized (shorter side, centre cut) and turned grey or RGB as the network wants it.
                   Turned by its EXIF orientation where the images of the run were.
                   Of a folder all images below it; files that cannot be read are skipped, counted and named.
  --stage=<name>   which network of the run; default the last stage's.
  --seed=<number>  which of its seeds, from 0; default 0.
  --top=<k>        classes shown for each image; default 1.
  --csv=<file>     writes a table instead of printing.
"""
BATCH = 256  # images a pass
COPIES = 8  # bytes a pixel and channel: as it is read, resized, cut, and as float32


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("run", nargs="?")
    parser.add_argument("images", nargs="*")
    parser.add_argument("--stage")
    parser.add_argument("--seed")
    parser.add_argument("--top", default="1")
    parser.add_argument("--csv")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if not args.run or not args.images:
        raise InputError("expected a run's folder and at least one image; --help tells more")
    table_at, run = cli.file_to_write("--csv", args.csv), user_path(args.run)
    if run.is_file() and (args.stage or args.seed is not None):
        raise InputError(f"--{'stage' if args.stage else 'seed'} is not accepted: {args.run} holds one network")
    top, seed = cli.whole("--top", args.top, 1), cli.whole("--seed", "0" if args.seed is None else args.seed, 0)
    found, skipped = classify(run, [user_path(p) for p in args.images], args.stage, seed, top)
    if skipped:
        files = f"{len(skipped)} of {len(skipped) + len(found)} files"
        cli.tell(f"skipped: {files} in folders are no images that can be read ({some(skipped)})", file=sys.stderr)
    if table_at is None:
        for path, classes in found:
            cli.tell(f"{path}: " + ", ".join(f"{name} {p:.1%}" for name, p in classes))
        return
    header = ["image", *(f"{what}{i + 1}" for i in range(len(found[0][1])) for what in ("class", "probability"))]
    table = io.StringIO()
    rows = [[printable(path), *(x for name, p in classes for x in (printable(name), f"{p:.4f}"))] for path, classes in found]
    csv.writer(table, lineterminator="\n").writerows([header, *rows])
    write_text(table_at, table.getvalue())
    cli.tell(f"{len(rows)} image{'s' * (len(rows) > 1)} written to {args.csv}")


def classify(
    run: Path, paths: list[Path], stage: str | None, seed: int, top: int
) -> tuple[list[tuple[Path, list[tuple[str, float]]]], list[str]]:
    """The `top` classes of every image with their probabilities, and the files in folders that cannot be read."""
    net, params, stats, trained_on = _from_file(run) if run.is_file() else _from_run(run, stage, seed)
    names, shape = trained_on.names, trained_on.shape
    if not 1 <= top <= len(names):
        raise InputError(f"--top={top} is not accepted: expected 1 to {len(names)}, the classes of {run}")
    files = [f for p in paths for f in _files(p)]
    named = set(paths)
    count = min(BATCH, len(files))
    check_memory(f"{count} images of {shape[0]}x{shape[1]} pixels at a time", COPIES * count * math.prod(shape), "fewer images")
    seen = view(trained_on.crop)
    predict = jax.jit(lambda x: net.apply(params, stats, seen(x), train=False)[0])
    found, skipped = [], []
    for i in range(0, len(files), BATCH):
        readable = []
        for file in files[i : i + BATCH]:
            try:
                readable.append((file, _read(file, shape, trained_on.exif_orientation)))
            except InputError:
                if file in named:
                    raise
                skipped.append(str(file))
        if not readable:
            continue
        images = np.stack([image for _, image in readable])
        blank = np.zeros((min(BATCH, len(files)) - len(images), *shape), np.uint8)  # one shape, one compilation
        taps = predict(np.concatenate([images, blank]))
        if "logits" not in taps:
            raise InputError(f"{run} holds an encoder without classes: choose another --stage, or another run")
        if taps["logits"].ndim != 2:
            shape = "x".join(map(str, taps["logits"].shape[1:]))
            raise InputError(f"{run} holds no classifier of whole images, its logits are {shape}: choose another --stage")
        if (classes := taps["logits"].shape[-1]) != len(names):
            raise InputError(f"{run} names {len(names)} classes, its network has {classes}")
        for (file, _), p in zip(readable, np.asarray(jax.nn.softmax(taps["logits"])), strict=False):
            found.append((file, [(names[k], float(p[k])) for k in np.argsort(-p)[:top]]))
    if not found:
        raise InputError(f"none of {len(files)} files is an image that can be read: {some(skipped)}")
    return found, skipped


class _Images(NamedTuple):
    """What a network was trained on: classes, the shape of an image, the side cut from it, and whether EXIF tags turned it."""

    names: list[str]
    shape: tuple[int, int, int]
    crop: int
    exif_orientation: bool


def _from_run(run: Path, stage: str | None, seed: int) -> tuple[Net, Any, Any, _Images]:
    """A network of a run, and what it was trained on."""
    try:
        specification, params, stats = read_run(run, stage, member_number=seed)
    except InputError as error:
        raise InputError(str(error).replace("member_number", "--seed")) from None
    _check_sees_images(run, specification)
    return models.build(specification), params, stats, _seen(run, lambda: read_json(run / "config.json")["data"])


def _check_sees_images(place: Path, specification: Mapping) -> None:
    if models.generates(specification):
        raise InputError(f"{place} holds a generator, which does not classify: {cli.command('sample.py', place)} draws from it")


def _from_file(file: Path) -> tuple[Net, Any, Any, _Images]:
    """The same of a file that a run has exported."""
    about = models.read_weights(file).metadata
    later = {"exif_orientation": "false"}  # files of an earlier version lack it
    images = _seen(file, lambda: {key: parse_json((later | about)[key]) for key in ("names", "shape", "crop", *later)})
    side = images.crop
    found = read_teacher(file, {}, (side, side, images.shape[2]) if side else images.shape)
    _check_sees_images(file, found.specification)
    return found.net, found.params, found.stats, images


def _seen(place: Path, told: Callable[[], Mapping]) -> _Images:
    """What a run or a file says of classes and images."""
    try:
        data = told()
        names, shape, crop, turned = data["names"], data["shape"], data.get("crop", 0), data.get("exif_orientation", False)
        height, width, channels = shape
        fine = all(type(n) is int and n > 0 for n in shape) and type(crop) is int and 0 <= crop <= min(height, width)
        fine = fine and isinstance(turned, bool) and isinstance(names, list) and all(isinstance(name, str) for name in names)
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        fine = False
    if not fine:
        raise InputError(f"{place} does not name its classes and images: expected a finished run, or a file of a run's export/")
    if channels not in (1, 3):
        raise InputError(f"{place} takes images of {channels} channels: image files have 1 or 3")
    check_memory(f"{place}: an image of {height}x{width} pixels", COPIES * math.prod(shape), "a network for smaller images")
    return _Images(names, (height, width, channels), crop, turned)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"image {path} is not there: expected an image or a folder of images")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in TYPES and not p.name.startswith("."))
    if not found:
        raise InputError(f"folder {path} holds no image: expected files that end in {', '.join(TYPES)}")
    return found


def _read(path: Path, shape: tuple[int, int, int], exif_orientation: bool) -> np.ndarray:
    """One image as the run's data were read: turned as there, shorter side resized, centre cut out."""
    from PIL import Image

    height, width, channels = shape
    try:
        pixels = decode(path, exif_orientation=exif_orientation)
    except Damaged as damaged:
        raise InputError(damaged.what) from None
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("L" if channels == 1 else "RGB")
    scale = max(height / image.height, width / image.width)
    size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height))).reshape(shape)


if __name__ == "__main__":
    cli.run(main)
