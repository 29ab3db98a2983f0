"""Sets kept as image files in folders."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.given import given_path
from kdjax.data.image import TYPES, decode, fit, header, unfilled
from kdjax.data.sampler import TEST_SPLIT, spread_rows
from kdjax.data.sound import Damaged
from kdjax.data.source import Opened, Source, file_digest
from kdjax.data.split import stratified

HEADERS = 4096  # of so many files the first bytes are read to settle size and channels


def open_folder(directory: str, image_size: int | None = None, *, headers: int | None = HEADERS, skip: bool = False) -> Opened:
    """Lists a directory of images in one of three forms; images are decoded when they are read.

    - `train/<class>/` and `test/<class>/`: the split as given; other folders beside them are not read.
    - `<class>/` alone: a fifth of each class, drawn with the fixed seed 0 whatever the run's seed, is for the test.
    - images without class folders: unlabelled. Every label is -1 and there are no classes; a fifth, drawn likewise, is
      for the test. `train/` and `test/` may both be unlabelled, too.

    Classes are the folders' names in alphabetical order, images likewise inside a class. Hidden names (a leading dot)
    and files whose ending is not that of an image are not read; see `image.decode` for what is made of an image. Grey
    images give one channel, unless one image of the set is in colour: then all have three.

    Args:
      directory: the directory.
      image_size: the side to which every image is brought (shorter side resized, centre cut out), or None where all
        have one size already.
      headers: of how many files, spread evenly, size and channels are looked up before; None looks at all. A file that
        does not fit them is refused when it is read.
      skip: whether damaged files among those are passed over.

    Returns:
      Opened.

    Raises:
      Damaged: for a file that is found damaged now, without `skip`.
      InputError: naming the folder or file, what was found and what is accepted.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (root / name).mkdir()
    ...     for i in range(5):
    ...         Image.new("L", (4, 4), i).save(root / name / f"{i}.png")
    >>> opened = open_folder(str(root))
    >>> opened.train.size, opened.shape, opened.names
    (8, (4, 4, 1), ('cat', 'dog'))
    """
    root = given_path(directory)
    _check_directory(directory, root)
    names, files, labels, train, test = _split(root)
    shape, looked = _shape(root, files, image_size, headers, skip)

    def digest() -> str:
        return file_digest(root, files, "folder", shape)

    def source(rows):
        return _source(root, [files[row] for row in rows], labels[rows], shape, image_size, looked)

    return Opened(source(train), source(test), names, shape, digest, guessed=looked < len(files))


def _check_directory(directory: str, root: Path) -> None:
    if not directory:
        raise InputError("folder: no directory is named; expected folder:<dir>")
    if root.is_file():
        raise InputError(f"folder {root}: is a file; expected a directory of images (npz:<path> reads an .npz file)")
    if not root.is_dir():
        raise InputError(f"folder {root}: no such directory")


def _split(root: Path) -> tuple[tuple[str, ...], list[str], np.ndarray, np.ndarray, np.ndarray]:
    """The class names, all files, their labels, and which of them are for training and for the test."""
    parts = {name for name in ("train", "test") if (root / name).is_dir()}
    if len(parts) == 1:
        (one,), (other,) = parts, {"train", "test"} - parts
        raise InputError(f"folder {root}: has {one}/ but no {other}/; expected both, or class folders alone")
    if not parts:
        names, files, labels = _listing(root, "")
        try:
            train, test = stratified(labels, 0.2, seed=0, stream=TEST_SPLIT, names=names)
        except InputError as error:
            raise InputError(f"folder {root}: {error}") from None
        return names, files, labels, train, test
    names, files, labels = _listing(root, "train")
    test_names, test_files, test_labels = _listing(root, "test")
    if bool(names) != bool(test_names):
        flat, deep = ("test", "train") if names else ("train", "test")
        raise InputError(f"folder {root}: {deep}/ has class folders, {flat}/ has none; expected the same form in both")
    for name in test_names:
        if name not in names:
            raise InputError(f"folder {root}: test/{name} is no class of train/; accepted: {nearest(name, names)}")
    if names:
        test_labels = np.array([names.index(name) for name in test_names], np.int32)[test_labels]
    rows = np.arange(len(files) + len(test_files))
    return names, files + test_files, np.concatenate([labels, test_labels]), rows[: len(files)], rows[len(files) :]


def _listing(root: Path, part: str) -> tuple[tuple[str, ...], list[str], np.ndarray]:
    """The class names (none where there are no class folders), the files below `root` and their labels."""
    folder = root / part
    flat, folders = _visible(folder)
    if flat and folders:
        both = f"images ({flat[0]}) and folders ({folders[0]})"
        raise InputError(f"folder {folder}: holds {both}; expected one of the two")
    if not folders:
        if not flat:
            raise InputError(f"folder {folder}: holds no images; accepted: {', '.join(TYPES)}")
        return (), [os.path.join(part, name) for name in flat], np.full(len(flat), -1, np.int32)
    inside = [_visible(folder / name)[0] for name in folders]
    for name, images in zip(folders, inside, strict=True):
        if not images:
            raise InputError(f"folder {folder / name}: the class holds no images; accepted: {', '.join(TYPES)}")
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), [len(images) for images in inside])
    files = [os.path.join(part, name, image) for name, images in zip(folders, inside, strict=True) for image in images]
    return tuple(folders), files, labels


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """The images and the folders right inside a folder, hidden ones left out, in alphabetical order."""
    try:
        with os.scandir(folder) as found:  # which tells folders from files without asking for each
            entries = sorted((e.name, e.is_dir()) for e in found if not e.name.startswith("."))
    except PermissionError:
        raise InputError(f"folder {folder}: no permission to read it") from None
    images = [name for name, is_folder in entries if not is_folder and name.lower().endswith(TYPES)]
    return images, [name for name, is_folder in entries if is_folder]


def _shape(
    root: Path, files: list[str], image_size: int | None, headers: int | None, skip: bool
) -> tuple[tuple[int, int, int], int]:
    """The shape of one image, and of how many files the headers were read for it."""
    some = [files[at] for at in spread_rows(len(files), headers or len(files))]

    def look(file):
        try:
            return header(root / file)
        except Damaged:
            if not skip:
                raise

    with ThreadPoolExecutor(8 if len(some) > 100 else 1) as threads:  # for the sake of file servers
        found = [(file, shape) for file, shape in zip(some, threads.map(look, some), strict=True) if shape]
    if not found:
        raise InputError(f"folder {root}: none of {len(some)} images can be decoded; expected image files")
    channels = max(shape[2] for _, shape in found)
    if image_size is not None:
        return (image_size, image_size, channels), len(some)
    first, (height, width, _) = found[0]
    for file, (tall, wide, _) in found:
        if (tall, wide) != (height, width):
            raise InputError(
                f"folder: {root / first} is {height}x{width} and {root / file} is {tall}x{wide} (height x width): "
                "expected one size, or --config.data.image_size=<pixels> to resize and crop all"
            )
    return (height, width, channels), len(some)


def _source(
    root: Path, files: list[str], labels: np.ndarray, shape: tuple[int, int, int], image_size: int | None, looked: int
) -> Source:
    others = f"the {looked} images looked at first"
    colour = "; --config.data.reader=resident and launch/pack.py look at all of them"

    def read(rows):
        images = unfilled(len(rows), shape)
        for at, row in enumerate(rows):
            file = root / files[row]
            image = decode(file, row=at)
            images[at] = fit(image, shape, image_size, f"image {file}", others=others, colour=colour)  # grey fills all channels
        index = np.asarray(rows, np.int32)
        return {"image": images, "label": labels[index], "index": index}

    return Source(len(files), read, labels.copy)
