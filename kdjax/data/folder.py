"""Sets kept as image files in folders."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.paths import user_path
from kdjax.data.damaged import Damaged
from kdjax.data.image import TYPES, decode, fit, header, unfilled
from kdjax.data.sampler import TEST_SPLIT, spread_rows
from kdjax.data.source import Opened, Source, file_digest
from kdjax.data.split import stratified
from kdjax.data.tree import BESIDE, Unread, images_below, inside

VALIDATION = ("val", "valid", "validation")  # what the folder of validation images may be called
HEADERS = 4096  # of so many files the first bytes are read to settle size and channels


def open_folder(
    directory: str,
    image_size: int | None = None,
    *,
    headers: int | None = HEADERS,
    skip: bool = False,
    exif_orientation: bool = False,
) -> Opened:
    """Lists a directory of images in one of four forms; images are decoded when they are read.

    - `train/<class>/` and `test/<class>/`: the split as given. `val/<class>/` (or `valid`, `validation`) beside them is the
      validation set; without `test/` it is for the test, as in ImageNet's layout. With `train/` alone, a fifth of each class,
      drawn with the fixed seed 0 whatever the run's seed, is for the test.
    - `<class>/` alone: a fifth of each class is for the test, likewise.
    - `test/<class>/` without `train/`: nothing to learn from, for students that learn without data.
    - images without class folders: unlabelled. Every label is -1 and there are no classes; a fifth, drawn likewise, is
      for the test. `train/` alone, or with the other parts, may be unlabelled, too.

    Classes are the folders' names in alphabetical order, images likewise inside a class, those in folders inside it
    included. Hidden names (a leading dot) and files whose ending is not that of an image are not read, and counted in
    `notes`; see `image.decode` for what is made of an image. Grey images give one channel, unless one image of the set is in
    colour: then all have three.

    Args:
      directory: the directory.
      image_size: the side to which every image is brought (shorter side resized, centre cut out), or None where all
        have one size already.
      headers: of how many files, spread evenly, size and channels are looked up before; None looks at all. A file that
        does not fit them is refused when it is read.
      skip: whether damaged files among those are passed over.
      exif_orientation: whether images are turned as their EXIF orientation says.

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
    root = user_path(directory)
    _check_directory(directory, root)
    unread = Unread()
    names, files, labels, parts = _split(root, unread)
    shape, looked = _shape(root, files, image_size, headers, skip, exif_orientation)

    def digest() -> str:
        return file_digest(root, files, "folder", shape, *["exif_orientation"] * exif_orientation)

    def source(rows):
        return _source(root, [files[row] for row in rows], labels[rows], shape, image_size, looked, exif_orientation)

    train, test, val = (source(parts[name]) if name in parts else None for name in ("train", "test", "val"))
    assert train and test
    return Opened(
        train, test, names, shape, digest, guessed=looked < len(files), val=val, notes=unread.notes(),
        exif_orientation=exif_orientation,
    )  # fmt: skip


def _check_directory(directory: str, root: Path) -> None:
    if not directory:
        raise InputError("folder: no directory is named; expected folder:<dir>")
    if root.is_file():
        raise InputError(f"folder {root}: is a file; expected a directory of images (npz:<path> reads an .npz file)")
    if not root.is_dir():
        raise InputError(f"folder {root}: no such directory")


def _split(root: Path, unread: Unread) -> tuple[tuple[str, ...], list[str], np.ndarray, dict[str, np.ndarray]]:
    """The class names, all files, their labels, and which of them are for `train`, `test` and, where there are any, `val`."""
    given = _given(root, unread)
    if "train" not in given:
        names, files, labels = _listing(root, "test", unread)
        if not names:
            raise InputError(f"folder {root}: has test/ without class folders, and no train/; expected class folders in it")
        return names, files, labels, {"train": np.arange(0), "test": np.arange(len(files))}
    names, files, labels = _listing(root, given.pop("train"), unread)
    if not given:
        try:
            train, test = stratified(labels, 0.2, seed=0, stream=TEST_SPLIT, names=names)
        except InputError as error:
            raise InputError(f"folder {root}: {error}") from None
        return names, files, labels, {"train": train, "test": test}
    parts, of = {"train": np.arange(len(files))}, "train"
    for part, folder in given.items():
        own_names, own_files, own_labels = _listing(root, folder, unread)
        if names and not own_names:
            raise InputError(f"folder {root}: train/ has class folders, {folder}/ has none; expected class folders in both")
        if not names:  # training images without labels beside labelled ones
            names, of = own_names, folder
        for name in own_names:
            if name not in names:
                raise InputError(f"folder {root}: {folder}/{name} is no class of {of}/; accepted: {nearest(name, names)}")
        if names:
            own_labels = np.array([names.index(name) for name in own_names], np.int32)[own_labels]
        parts[part] = np.arange(len(files), len(files) + len(own_files))
        files, labels = files + own_files, np.concatenate([labels, own_labels])
    return names, files, labels, parts


def _given(root: Path, unread: Unread) -> dict[str, str]:
    """The folder of each part that the set is split into: of `train`, and of `test` and `val` where they are not to be cut."""
    if not any((root / part).is_dir() for part in ("train", "test")):
        return {"train": ""}
    images, folders = inside(root, "", unread)
    given = {part: part for part in ("train", "test") if part in folders}
    held = [name for name in VALIDATION if name in folders and "train" in given]
    if len(held) > 1:
        raise InputError(f"folder {root}: has {held[0]}/ and {held[1]}/; expected one of {', '.join(VALIDATION)}")
    if held:
        given["val" if "test" in given else "test"] = held[0]
    for name in (*images, *folders):
        if name not in given.values():
            unread.add(BESIDE, name)
    return given


def _listing(root: Path, part: str, unread: Unread) -> tuple[tuple[str, ...], list[str], np.ndarray]:
    """The class names (none where there are no class folders), the files below `root` and their labels."""
    flat, folders = inside(root, part, unread)
    if flat and folders:
        both = f"images ({os.path.basename(flat[0])}) and folders ({os.path.basename(folders[0])})"
        raise InputError(f"folder {root / part}: holds {both}; expected one of the two")
    if not folders:
        if not flat:
            raise InputError(f"folder {root / part}: holds no images; accepted: {', '.join(TYPES)}")
        return (), flat, np.full(len(flat), -1, np.int32)
    images = [images_below(root, folder, unread) for folder in folders]
    for folder, own in zip(folders, images, strict=True):
        if not own:
            raise InputError(f"folder {root / folder}: the class holds no images; accepted: {', '.join(TYPES)}")
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), [len(own) for own in images])
    return tuple(map(os.path.basename, folders)), [file for own in images for file in own], labels


def _shape(
    root: Path, files: list[str], image_size: int | None, headers: int | None, skip: bool, exif_orientation: bool
) -> tuple[tuple[int, int, int], int]:
    """The shape of one image, and of how many files the headers were read for it."""
    some = [files[at] for at in spread_rows(len(files), headers or len(files))]

    def look(file):
        try:
            return header(root / file, exif_orientation=exif_orientation)
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
    root: Path,
    files: list[str],
    labels: np.ndarray,
    shape: tuple[int, int, int],
    image_size: int | None,
    looked: int,
    exif_orientation: bool,
) -> Source:
    others = f"the {looked} images looked at first"
    colour = "; --config.data.reader=resident and launch/pack.py look at all of them"

    def read(rows):
        images = unfilled(len(rows), shape)
        for at, row in enumerate(rows):
            file = root / files[row]
            image = decode(file, row=at, exif_orientation=exif_orientation)
            images[at] = fit(image, shape, image_size, f"image {file}", others=others, colour=colour)  # grey fills all channels
        index = np.asarray(rows, np.int32)
        return {"image": images, "label": labels[index], "index": index}

    return Source(len(files), read, labels.copy)
