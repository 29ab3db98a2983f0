"""From the name of a data source to a Dataset."""

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kdjax.core.check import InputError, check_option, nearest
from kdjax.core.memory import check_memory
from kdjax.core.paths import read_whole
from kdjax.data.array_record import open_packed
from kdjax.data.classes import empty_classes
from kdjax.data.digits import read_digits
from kdjax.data.docstrings import read_docstrings
from kdjax.data.folder import HEADERS, open_folder
from kdjax.data.image import in_words, unfilled
from kdjax.data.memory import Decoded, decode_all, step_over
from kdjax.data.npz import read_npz
from kdjax.data.resize import resize_crop
from kdjax.data.sampler import VAL_SPLIT
from kdjax.data.source import SEVERAL, Arrays, Dataset, Opened, Source, column_source, digest, further_columns, row_labels, subset
from kdjax.data.split import stratified
from kdjax.data.tfds import open_tfds

READERS = ("auto", "resident", "streaming")
CORRUPT = ("stop", "skip")
RESIDENT = 2**31  # bytes of decoded images up to which "auto" keeps a set in memory
COPIES = 3  # of an image lie in memory while it is resized


class _Options(NamedTuple):
    directory: str = ""
    image_size: int | None = None
    headers: int | None = HEADERS
    skip: bool = False
    exif_orientation: bool = False


class _Kind(NamedTuple):
    form: str
    open: Callable[[str, _Options], Opened]
    tagged: bool = False  # whether its images can have EXIF tags


_KINDS = {
    "digits": _Kind("digits", lambda rest, o: _in_memory(read_digits(rest), o.image_size)),
    "docstrings": _Kind("docstrings[:packages]", lambda rest, o: _in_memory(read_docstrings(rest), o.image_size)),
    "npz": _Kind("npz:<path>", lambda rest, o: _in_memory(read_npz(rest), o.image_size)),
    "folder": _Kind(
        "folder:<dir>",
        lambda rest, o: open_folder(rest, o.image_size, headers=o.headers, skip=o.skip, exif_orientation=o.exif_orientation),
        tagged=True,
    ),
    "none": _Kind("none:<height>x<width>x<channels>:<classes>", lambda rest, o: _nothing(rest)),
    "tfds": _Kind(
        "tfds:<name>[:<version>]",
        lambda rest, o: open_tfds(rest, o.directory, o.image_size, exif_orientation=o.exif_orientation),
        tagged=True,
    ),
    "array_record": _Kind(
        "array_record:<dir>",
        lambda rest, o: open_packed(rest, o.image_size, exif_orientation=o.exif_orientation),
        tagged=True,
    ),
}
FORMS = tuple(kind.form for kind in _KINDS.values())  # what `load` takes, for messages and lists


def load(
    source: str,
    *,
    val_fraction: float = 0.0,
    seed: int = 0,
    image_size: int | None = None,
    directory: str = "",
    reader: str = "auto",
    corrupt: str = "stop",
    workers: int = 0,
    exif_orientation: bool = False,
) -> Dataset:
    """Opens a data set; images are uint8.

    A set's own validation images, where it has some, are the validation set; nothing is then cut from its training images.

    The digest is that of the images and labels as they are read where the set is resident or its images lie in memory
    anyway (`digits`, `npz`). Else it is that of the files: of their names and bytes, or of names and sizes where they
    take more than 1 GiB together; and of the settings that change what rows look like.

    Args:
      source: `digits`, `docstrings[:packages]`, `npz:<path>`, `folder:<dir>`, `tfds:<name>[/<config>][:<version>]` or
        `array_record:<dir>`; see `read_digits`, `read_docstrings`, `read_npz`, `open_folder`, `open_tfds` and `open_packed`. Or
        `none:<height>x<width>x<channels>:<classes>`, a set without a row, for students that learn without data.
      val_fraction: the part of each training class that becomes the validation set, 0 or more and below 1. The order of
        the other training rows stays as it was.
      seed: the seed of the validation split. Test splits do not follow it.
      image_size: the side, in pixels, to which every image is brought: shorter side resized, centre cut out. None
        leaves the images as they are.
      directory: where prepared TFDS sets lie; other sources have their place in their name.
      reader: `resident` decodes all images into memory now; `streaming` decodes rows when they are read; `auto` is
        `resident` where the decoded images take at most 2 GiB.
      corrupt: what becomes of an image that cannot be decoded: `stop` refuses it, when it is read; `skip` takes the next
        image of its set in its place (streaming readers through `read_undamaged`).
      workers: processes that decode a resident set; 0 decodes in this one.
      exif_orientation: whether images are turned as the EXIF orientation says that cameras write; off as in torchvision's
        loader. For image files and sets of TFDS; of `array_record` for those that were packed so.

    Returns:
      A Dataset. Its `val` is None without `val_fraction` and validation images of the set's own.

    Raises:
      InputError: one line that names the source, what was found in it and what is accepted.

    >>> digits = load("digits", val_fraction=0.1)
    >>> digits.train.size, digits.val.size, digits.test.size, digits.shape
    (1211, 136, 450, (8, 8, 1))
    """
    check_option("val_fraction", val_fraction, lambda f: 0 <= f < 1, "0 or more and below 1")
    check_option("reader", reader, lambda r: r in READERS, f"one of {', '.join(READERS)}")
    check_option("workers", workers, lambda n: int(n) == n >= 0, "a whole number, 0 or more")
    skip = corrupt == "skip"
    asked = {"image_size": image_size, "directory": directory, "corrupt": corrupt, "exif_orientation": exif_orientation}
    opened = open_source(source, **asked)
    if reader == "auto":
        reader = "resident" if _decoded_bytes(opened) <= RESIDENT else "streaming"
    if reader == "resident" and opened.guessed:
        opened = open_source(source, **asked, every=True)
    decoded = _decoded(source, opened, skip, workers) if reader == "resident" else None

    def part(which: str, rows: np.ndarray | None = None) -> Source:
        whole: Source = getattr(opened, which)
        if decoded is None:
            return whole if rows is None else subset(whole, rows)
        of = decoded[which]
        return column_source(of.columns, step_over(np.arange(whole.size) if rows is None else rows, of.damaged))

    train, val, notes = None, None if opened.val is None else part("val"), list(opened.notes)
    cut, labelled = val_fraction > 0 and val is None, len(opened.names) > 0
    if cut or opened.listed or decoded:
        labels = decoded["train"].labels if decoded else opened.train.labels()
        labelled = bool(((labels if decoded is None else decoded["train"].columns["label"]) >= 0).any())
        if (labels >= 0).any() and (empty := empty_classes(labels, opened.names)):
            notes.append(empty)
        if cut:
            try:
                train, cut_off = stratified(labels, val_fraction, seed=seed, stream=VAL_SPLIT, names=opened.names)
            except InputError as error:
                raise InputError(f"data source {source!r}, val_fraction={val_fraction}: {error}") from None
            val = part("train", cut_off)
    return Dataset(
        train=part("train", train),
        val=val,
        test=part("test"),
        classes=len(opened.names),
        shape=opened.shape,
        names=opened.names,
        digest=_digest(opened, decoded),
        resident=decoded is not None,
        damaged=tuple(line for of in decoded.values() for line in of.damaged.values()) if decoded else (),
        own_val=opened.val is not None,
        notes=tuple(notes),
        labelled=labelled,
        exif_orientation=opened.exif_orientation,
    )


def open_source(
    source: str,
    *,
    image_size: int | None = None,
    directory: str = "",
    corrupt: str = "stop",
    exif_orientation: bool = False,
    every: bool = False,
) -> Opened:
    """Opens a data set and decodes nothing yet; the options are those of `load`.

    Args:
      source: as in `load`.
      image_size: as in `load`.
      directory: as in `load`.
      corrupt: as in `load`.
      exif_orientation: as in `load`.
      every: whether the headers of all image files are read, and not of some, to settle the shape.

    Raises:
      InputError: as in `load`.

    >>> open_source("digits", image_size=28).shape
    (28, 28, 1)
    """
    kind, _, rest = source.partition(":")
    if kind not in _KINDS:
        forms = ", ".join(_KINDS[name].form for name in nearest(kind, _KINDS).split(", "))
        raise InputError(f"data source {source!r} is not known; accepted: {forms}")
    check_option("corrupt", corrupt, lambda c: c in CORRUPT, f"one of {', '.join(CORRUPT)}")
    check_option("exif_orientation", exif_orientation, lambda on: isinstance(on, bool), "True or False")
    if exif_orientation and not _KINDS[kind].tagged:
        forms = ", ".join(known.form for known in _KINDS.values() if known.tagged)
        what = "exif_orientation=True is not accepted: its images have no such tag"
        raise InputError(f"data source {source!r}: {what}; accepted with {forms}")
    if image_size is not None:
        whole = isinstance(image_size, int | np.integer) and not isinstance(image_size, bool)
        check_option("image_size", image_size, lambda s: whole and s >= 1, "a whole number of pixels, 1 or more")
    headers = None if every else HEADERS
    opened = _KINDS[kind].open(rest, _Options(directory, image_size, headers, corrupt == "skip", exif_orientation))
    if image_size is not None:
        check_memory(f"image_size={image_size}: one image", COPIES * math.prod(opened.shape), "a smaller side")
    return opened


def _nothing(rest: str) -> Opened:
    """No rows at all, of images of a shape and a number of classes: for a student that learns without data."""
    sides, _, classes = rest.partition(":")
    numbers = [read_whole(text) or 0 for text in (*sides.split("x"), classes)]
    if len(numbers) != 4 or min(numbers[:3]) < 1 or numbers[3] < 2:
        wanted = "expected none:<height>x<width>x<channels>:<classes>, as none:32x32x3:10"
        raise InputError(f"data source {f'none:{rest}'!r} is not accepted: {wanted}")
    *shape, count = numbers
    check_memory(f"data source 'none:{rest}': one image", COPIES * math.prod(shape), "a smaller shape")
    rows = {"image": np.zeros((0, *shape), np.uint8), "label": np.zeros(0, np.int32)}
    opened = _in_memory(Arrays(rows, rows, tuple(map(str, range(count)))), None)
    return opened._replace(notes=("there are no images: nothing is measured on real ones",))


def _in_memory(arrays: Arrays, size: int | None) -> Opened:
    """A set that lies in memory; its images are resized when they are read."""
    main = "image" if "image" in arrays.train else "tokens"
    shape = arrays.train[main].shape[1:]
    parts = {name: column_source(columns) for name, columns in arrays.parts.items()}
    if size is None or shape[:2] == (size, size):
        return Opened(
            parts["train"], parts["test"], arrays.names, shape, lambda: digest(arrays), arrays=arrays, val=parts.get("val")
        )  # fmt: skip
    placed = [name for name, x in arrays.train.items() if name not in ("image", SEVERAL) and x.ndim > 1]
    if main != "image" or placed:
        what = "its rows are no images" if main != "image" else f"{placed[0]!r} would not move with the images"
        raise InputError(f"image_size={size} is not accepted: {what}; expected a set in the size it is used in")

    def resized(source):
        def read(rows):
            batch = source.read(rows)
            images = unfilled(len(rows), (size, size, shape[2]))
            for at, image in enumerate(batch["image"]):
                images[at] = resize_crop(image, size)
            return {**batch, "image": images}

        return source._replace(read=read)

    def stamp() -> str:
        return hashlib.sha256(f"{digest(arrays)} {size}".encode()).hexdigest()

    parts = {name: resized(part) for name, part in parts.items()}
    return Opened(parts["train"], parts["test"], arrays.names, (size, size, shape[2]), stamp, val=parts.get("val"))


def _decoded_bytes(opened: Opened) -> int:
    if opened.arrays is not None:
        return sum(x.nbytes for columns in opened.arrays.parts.values() for name, x in columns.items() if name != "label")
    row = math.prod(opened.shape)
    row += sum(x.dtype.itemsize * math.prod(x.shape[1:]) for x in further_columns(opened.train).values())
    return sum(source.size for source in opened.parts.values()) * row


def _decoded(source: str, opened: Opened, skip: bool, workers: int) -> dict[str, Decoded]:
    parts = opened.parts
    if (known := opened.arrays) is not None:
        return {name: Decoded(columns, row_labels(columns["label"]), {}) for name, columns in known.parts.items()}
    what = f"data source {source!r}: {sum(part.size for part in parts.values()):,} images of {in_words(opened.shape)}"
    check_memory(what, _decoded_bytes(opened), "--config.data.reader=streaming, or a smaller --config.data.image_size")
    return dict(zip(parts, decode_all(list(parts.values()), opened.shape, skip=skip, workers=workers), strict=True))


def _digest(opened: Opened, decoded: dict[str, Decoded] | None) -> str:
    if decoded is None:
        return opened.digest()
    parts = {name: of.columns for name, of in decoded.items()}
    return digest(Arrays(parts["train"], parts["test"], opened.names, parts.get("val")))
