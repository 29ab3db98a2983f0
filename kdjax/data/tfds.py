"""Sets prepared by TensorFlow Datasets, read without TensorFlow."""

import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.extra import extra
from kdjax.core.files import read_json
from kdjax.core.paths import user_path
from kdjax.data.classes import check_classes
from kdjax.data.damaged import Damaged
from kdjax.data.image import decode, fit, unfilled
from kdjax.data.sampler import TEST_SPLIT
from kdjax.data.shards import Records, Shard, check_shards, labels_of, records_of
from kdjax.data.source import Opened, Source, file_digest
from kdjax.data.split import stratified

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_FORM = "expected tfds:<name>[/<config>][:<version>]"


def open_tfds(rest: str, directory: str = "", image_size: int | None = None, *, exif_orientation: bool = False) -> Opened:
    """Opens a set that TFDS has prepared as array_record; records are read and decoded when they are asked for.

    Nothing is downloaded and TensorFlow is never imported. The set lies in `<directory>/<name>/[<config>/]<version>/`.
    It needs the features `image` (8 bits, grey or colour) and `label` (of classes). Its split `train` is for training;
    `test` is the test set or, where there is none with labels, `validation` (as with ImageNet); a `validation` that is not
    the test set is the validation set. Of a set with `train` alone a fifth of each class, drawn with the fixed seed 0, is for
    the test, as of class folders; one with `test` alone has nothing to learn from. Other splits are not read. Labels are read
    without decoding an image, but with all records, once, when they are first asked for; a set with `train` alone asks at once.

    Args:
      rest: `<name>[/<config>][:<version>]`; without a version the highest there is.
      directory: where TFDS keeps its sets; empty: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      image_size: the side to which every image is brought, or None where all have one size already.
      exif_orientation: whether images are turned as their EXIF orientation says; records hold the files as TFDS found them.

    Returns:
      Opened.

    Raises:
      InputError: naming the set, what was found and what is accepted.
    """
    name, folder = _find(rest, directory)
    format_ = _json(folder / "dataset_info.json").get("fileFormat") or "tfrecord"
    _json(folder / "features.json")
    if format_ != "array_record":
        convert = "python -m tensorflow_datasets.scripts.convert_format --out_file_format=array_record"
        raise InputError(
            f"tfds: {name} in {folder} is kept as {format_}, which only TensorFlow reads: expected array_record; where "
            f"TensorFlow is installed: {convert} --dataset_version_dir={folder} --out_dir=<other dir>/{name}"
        )
    with extra("run"):
        import tensorflow_datasets as tfds

    try:
        with (
            redirect_stderr(io.StringIO()),
            redirect_stdout(io.StringIO()),
        ):  # where a feature needs TensorFlow, TFDS says so at length
            builder = tfds.builder_from_directory(folder)
        features, splits = builder.info.features, builder.info.splits
        known = {split: _records(builder, folder, split) for split in ("train", "test", "validation") if split in splits}
    except Exception as error:  # whatever TFDS stumbles over in files that it did not write itself
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"tfds: {name} in {folder} cannot be opened by TFDS {tfds.__version__} ({why})") from None
    for split, records in known.items():
        if not records.size:
            raise InputError(f"tfds: {name}: split {split} is empty: expected 1 image or more")
    if not known.keys() & {"train", "test"}:
        wanted = "train, and test or validation, or train or test alone"
        raise InputError(f"tfds: {name} has the splits {', '.join(sorted(splits)) or 'none'}: expected {wanted}")
    names, shape = _features(name, features, image_size, next(iter(known.values())).size)
    test, val = _roles(known)
    roles = (("train", "train"), ("test", test), ("val", val))
    used = {part: known[split] for part, split in roles if split in known}
    for records in used.values():
        check_shards(records.shards)
    sources = {part: _source(records, len(names), shape, image_size, exif_orientation) for part, records in used.items()}
    if not test:
        try:
            kept, cut = stratified(sources["train"].labels(), 0.2, seed=0, stream=TEST_SPLIT, names=names)
        except InputError as error:
            raise InputError(f"tfds: {name}: {error}") from None
        sources = {
            part: _source(known["train"], len(names), shape, image_size, exif_orientation, rows)
            for part, rows in (("train", kept), ("test", cut))
        }
    if "train" not in known:
        sources["train"] = _source(known[test], len(names), shape, image_size, exif_orientation, np.arange(0))
    files = sorted(Path(shard.path).name for records in used.values() for shard in records.shards)
    files += ["features.json", *sorted(f.name for f in folder.glob("*.labels.txt"))]
    settings = ("tfds", test, *([val] if val else []), shape, *["exif_orientation"] * exif_orientation)
    return Opened(
        sources["train"], sources["test"], names, shape, lambda: file_digest(folder, files, *settings), val=sources.get("val"),
        listed=not test, exif_orientation=exif_orientation,
    )  # fmt: skip


def _find(rest: str, directory: str) -> tuple[str, Path]:
    """The set as `name[/config]/version`, and its folder."""
    path, _, version = rest.partition(":")
    words = path.split("/")
    if not path or len(words) > 2 or any(w in ("", ".", "..") for w in words):
        raise InputError(f"data source 'tfds:{rest}' is not accepted: {_FORM}")
    root = user_path(directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    layout = f"expected --config.data.dir=<dir> with <dir>/{path}/<version>/, as TFDS lays it out"
    if not root.is_dir():
        build = f"tfds build {path} --data_dir={quote(str(root))} --file_format=array_record"
        prepare = f"`{build}` prepares it where TensorFlow is installed"
        raise InputError(f"tfds: folder {root} is not there; {layout}; {prepare}")
    if not _versions(root / words[0]) and not any(_versions(f) for f in _folders(root / words[0])):
        held = [f.name for f in _folders(root) if _versions(f) or any(_versions(g) for g in _folders(f))]
        raise InputError(f"tfds: {root} holds no set {words[0]!r}; found there: {nearest(words[0], held) or 'none'}; {layout}")
    folder = root / path
    if len(words) == 1 and not _versions(folder):
        configs = [f.name for f in _folders(folder) if _versions(f)]
        if len(configs) > 1:
            raise InputError(
                f"tfds: {words[0]} has several configs: expected tfds:{words[0]}/<config>, one of {nearest('', configs)}"
            )
        folder = folder / configs[0]
    versions = _versions(folder)
    if not versions:
        configs = [f.name for f in _folders(root / words[0]) if _versions(f)]
        held = f"accepted: {nearest(words[1], configs)}" if configs else f"it has none: expected tfds:{words[0]}"
        raise InputError(f"tfds: {words[0]} has no config {words[1]!r}; {held}")
    if version and version not in versions:
        raise InputError(f"tfds: {path} in {root} has no version {version!r}; accepted: {', '.join(versions)}")
    folder = folder / (version or versions[0])
    return str(folder.relative_to(root)), folder


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")) if folder.is_dir() else []


def _versions(folder: Path) -> list[str]:
    """The versions in a folder, the highest first."""
    found = [f.name for f in _folders(folder) if _VERSION.fullmatch(f.name)]
    return sorted(found, key=lambda v: [int(n) for n in v.split(".")], reverse=True)


def _json(file: Path) -> dict[str, Any]:
    try:
        return read_json(file, "expected a set that TFDS has prepared")
    except FileNotFoundError:
        raise InputError(f"tfds: file {file} is missing: expected a set that TFDS has finished preparing") from None
    except InputError as error:
        raise InputError(f"tfds: file {error}") from None


def _features(name: str, features: Any, image_size: int | None, rows: int) -> tuple[tuple[str, ...], tuple[int, int, int]]:
    """The names of the classes and the shape of the images."""
    with extra("run"):
        import tensorflow_datasets as tfds

    held: dict[str, Any] = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    for key, kind in (("image", tfds.features.Image), ("label", tfds.features.ClassLabel)):
        if key not in held:
            raise InputError(
                f"tfds: {name} has no feature {key!r}: expected image and label; it has {nearest(key, held) or 'none by name'}"
            )
        if not isinstance(held[key], kind):
            raise InputError(f"tfds: {name}: feature {key!r} is a {type(held[key]).__name__}: expected {kind.__name__}")
    shape = held["image"].shape
    if len(shape) != 3 or not all(side is None or side > 0 for side in shape):
        raise InputError(f"tfds: {name}: its images have the shape {shape}: expected 3 numbers above 0, or None")
    height, width, channels = shape
    if np.dtype(held["image"].np_dtype) != np.uint8:
        raise InputError(f"tfds: {name}: its images are {np.dtype(held['image'].np_dtype)}: expected uint8, 0 to 255")
    channels = 1 if channels == 1 else 3
    check_classes(f"tfds: {name}", held["label"].num_classes or 0, rows, "features.json")
    names = tuple(held["label"].names or ())
    if not names:
        raise InputError(f"tfds: {name}: its label has no classes: expected a ClassLabel that knows their number")
    if image_size is not None:
        return names, (image_size, image_size, channels)
    if height is None or width is None:
        raise InputError(
            f"{name}: its images have several sizes: expected --config.data.image_size=<pixels> to resize and crop all"
        )
    return names, (height, width, channels)


def _roles(known: dict[str, Records]) -> tuple[str, str]:
    """The splits that serve as the test and as the validation set; empty where there is none for it."""
    if "test" not in known or "validation" not in known:
        return next((split for split in ("test", "validation") if split in known), ""), ""
    check_shards(known["test"].shards)
    return ("test", "validation") if _label(known["test"].read([0])[0]) >= 0 else ("validation", "")


def _records(builder: Any, folder: Path, split: str) -> Records:
    with extra("run"):
        from tensorflow_datasets.core.decode import DeserializeMethod

    info = builder.info.splits[split]
    lengths = zip(info.filepaths, info.shard_lengths, strict=True)
    shards = [Shard(str(folder / path.name), rows) for path, rows in lengths if rows]
    held = builder.as_data_source(split=split, deserialize_method=DeserializeMethod.RAW_BYTES) if shards else []
    return records_of(held, shards)


def _source(
    records: Records,
    classes: int,
    shape: tuple[int, int, int],
    image_size: int | None,
    exif_orientation: bool,
    kept: np.ndarray | None = None,
) -> Source:
    """All records, or those that are kept, `[K]`."""
    known, size = {}, records.size if kept is None else len(kept)

    def checked(label: int, row: int) -> int:
        if not -1 <= label < classes:
            wanted = f"0 to {classes - 1}, the classes of features.json"
            raise InputError(f"{records.name(int(row))}: has the label {label}: expected {wanted}")
        return label

    def read(rows):
        images, labels = unfilled(len(rows), shape), np.empty(len(rows), np.int32)
        numbers = rows if kept is None else kept[rows]
        for at, (row, record) in enumerate(zip(numbers, records.read(numbers), strict=True)):
            name = records.name(int(row))
            encoded, label = _parsed(record, name, at)
            image = decode(encoded, name, at, exif_orientation=exif_orientation)
            images[at] = fit(image, shape, image_size, name, others="what features.json says")  # grey fills all channels
            labels[at] = checked(label, row)
        return {"image": images, "label": labels, "index": np.asarray(rows, np.int32)}

    def labels():
        if "labels" not in known:
            found = labels_of(records, lambda record: min(max(_label(record), -(2**31)), 2**31 - 1))
            for row in np.flatnonzero((found < -1) | (found >= classes))[:1]:
                checked(int(found[row]), row)
            known["labels"] = found
        return known["labels"].copy() if kept is None else known["labels"][kept]

    return Source(size, read, labels)


def _label(record: bytes) -> int:
    return _parsed(record)[1]


def _parsed(record: bytes, name: str = "", row: int = 0) -> tuple[bytes, int]:
    """The encoded image and the label of a record."""
    with extra("run"):
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

    messages: Any = tf_example_pb2  # made when it is imported, so that type checkers do not see what it holds
    try:
        feature = messages.Example.FromString(record).features.feature
        return feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]
    except (DecodeError, IndexError):
        raise Damaged(f"{name}: cannot be read (it holds no image with a label)", row) from None
