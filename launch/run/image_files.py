"""Image files as a network of a run takes them, and what it makes of them."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax import models
from kdjax.core import InputError, Net, check_memory
from kdjax.core.files import parse_json, read_json
from kdjax.data import Damaged
from kdjax.data.classes import some
from kdjax.data.image import TYPES, decode
from kdjax.experiment.data import view
from kdjax.train.load import read_run
from kdjax.train.teacher import read_teacher
from launch.run import cli

BATCH = 256  # images a pass
COPIES = 8  # bytes a pixel and channel: as it is read, resized, cut, and as float32


class Images(NamedTuple):
    """What a network was trained on: classes, the shape of an image, the side cut from it, and whether EXIF tags turned it."""

    names: list[str]
    shape: tuple[int, int, int]
    crop: int
    exif_orientation: bool


class Opened(NamedTuple):
    """A network with its weights, and the images it was trained on."""

    place: Path
    net: Net
    params: Any
    stats: Any
    images: Images


class Pass(NamedTuple):
    """Some files, and what a network makes of them; None where it has no such tap."""

    files: list[Path]
    output: np.ndarray | None


def opened(place: Path, stage: str | None, seed: int) -> Opened:
    """The network of a run, or of a file that a run has exported."""
    return _from_file(place) if place.is_file() else _from_run(place, stage, seed)


def passes(network: Opened, paths: list[Path], tap: str, skipped: list[str]) -> Iterator[Pass]:
    """What a network makes of images and of folders of images.

    Args:
      network: which.
      paths: files, and folders of which all images are taken.
      tap: which output, where the network has it.
      skipped: takes the names of files in folders that cannot be read.

    Raises:
      InputError: for a named file that cannot be read, and where none can.
    """
    shape, named = network.images.shape, set(paths)
    files = [f for p in paths for f in _files(p)]
    count, found = min(BATCH, len(files)), 0
    check_memory(f"{count} images of {shape[0]}x{shape[1]} pixels at a time", COPIES * count * math.prod(shape), "fewer images")
    seen = view(network.images.crop)
    predict = jax.jit(lambda x: network.net.apply(network.params, network.stats, seen(x), train=False)[0].get(tap))
    for i in range(0, len(files), BATCH):
        readable = []
        for file in files[i : i + BATCH]:
            try:
                readable.append((file, read(file, network.images)))
            except InputError:
                if file in named:
                    raise
                skipped.append(str(file))
        if not readable:
            continue
        found += len(readable)
        images = np.stack([image for _, image in readable])
        blank = np.zeros((count - len(images), *shape), np.uint8)  # one shape, one compilation
        output = predict(np.concatenate([images, blank]))
        yield Pass([file for file, _ in readable], None if output is None else np.asarray(output)[: len(images)])
    if not found:
        raise InputError(f"none of {len(files)} files is an image that can be read: {some(skipped)}")


def read(path: Path, images: Images) -> np.ndarray:
    """One image as the run's data were read: turned as there, shorter side resized, centre cut out."""
    from PIL import Image

    height, width, channels = shape = images.shape
    try:
        pixels = decode(path, exif_orientation=images.exif_orientation)
    except Damaged as damaged:
        raise InputError(damaged.what) from None
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("L" if channels == 1 else "RGB")
    scale = max(height / image.height, width / image.width)
    size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height))).reshape(shape)


def _from_run(run: Path, stage: str | None, seed: int) -> Opened:
    """A network of a run, and what it was trained on."""
    try:
        specification, params, stats = read_run(run, stage, member_number=seed)
    except InputError as error:
        raise InputError(str(error).replace("member_number", "--seed")) from None
    _check_sees_images(run, specification)
    return Opened(run, models.build(specification), params, stats, _seen(run, lambda: read_json(run / "config.json")["data"]))


def _check_sees_images(place: Path, specification: Mapping) -> None:
    if models.is_generator(specification):
        raise InputError(f"{place} holds a generator, which does not classify: {cli.command('sample.py', place)} draws from it")


def _from_file(file: Path) -> Opened:
    """The same of a file that a run has exported."""
    about = models.read_weights(file).metadata
    later = {"exif_orientation": "false"}  # files of an earlier version lack it
    images = _seen(file, lambda: {key: parse_json((later | about)[key]) for key in ("names", "shape", "crop", *later)})
    side = images.crop
    found = read_teacher(file, {}, (side, side, images.shape[2]) if side else images.shape)
    _check_sees_images(file, found.specification)
    return Opened(file, found.net, found.params, found.stats, images)


def _seen(place: Path, told: Callable[[], Mapping]) -> Images:
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
    return Images(names, (height, width, channels), crop, turned)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"image {path} is not there: expected an image or a folder of images")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in TYPES and not p.name.startswith("."))
    if not found:
        raise InputError(f"folder {path} holds no image: expected files that end in {', '.join(TYPES)}")
    return found
