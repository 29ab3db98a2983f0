"""Sets kept as image files in folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.data.resize import resize_crop
from kdjax.data.sampler import TEST_SPLIT
from kdjax.data.source import Arrays
from kdjax.data.split import stratified

TYPES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_folder(directory: str, image_size: int | None = None) -> Arrays:
    """Reads a directory of images in one of three forms.

    - `train/<class>/` and `test/<class>/`: the split as given; other folders beside them are not read.
    - `<class>/` alone: a fifth of each class, drawn with the fixed seed 0 whatever the run's seed, is for the test.
    - images without class folders: unlabelled. Every label is -1 and there are no classes; a fifth, drawn likewise, is
      for the test. `train/` and `test/` may both be unlabelled, too.

    Classes are the folders' names in alphabetical order, images likewise inside a class. Hidden names (a leading dot)
    and files whose ending is not that of an image are not read; of an animation the first frame is. Grey images give
    one channel, unless one image of the set is in colour: then all have three. Transparency is dropped, the orientation
    tag of cameras is not applied.

    Args:
      directory: the directory.
      image_size: the side to which every image is brought (shorter side resized, centre cut out), or None where all
        have one size already.

    Returns:
      Arrays.

    Raises:
      InputError: naming the folder or file, what was found and what is accepted.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (root / name).mkdir()
    ...     for i in range(5):
    ...         Image.new("L", (4, 4), i).save(root / name / f"{i}.png")
    >>> arrays = read_folder(str(root))
    >>> arrays.train_images.shape, arrays.names
    ((8, 4, 4, 1), ('cat', 'dog'))
    """
    root = Path(directory).expanduser()
    _check_directory(directory, root)
    parts = {name for name in ("train", "test") if (root / name).is_dir()}
    if len(parts) == 1:
        (one,), (other,) = parts, {"train", "test"} - parts
        raise InputError(f"folder {root}: has {one}/ but no {other}/; expected both, or class folders alone")
    if not parts:
        names, files, labels = _listing(root)
        try:
            train, test = stratified(labels, 0.2, seed=0, stream=TEST_SPLIT, names=names)
        except InputError as error:
            raise InputError(f"folder {root}: {error}") from None
        images = _decode(files, image_size)
        return Arrays(images[train], labels[train], images[test], labels[test], names)
    names, files, labels = _listing(root / "train")
    test_names, test_files, test_labels = _listing(root / "test")
    if bool(names) != bool(test_names):
        flat, deep = ("test", "train") if names else ("train", "test")
        raise InputError(f"folder {root}: {deep}/ has class folders, {flat}/ has none; expected the same form in both")
    for name in test_names:
        if name not in names:
            raise InputError(f"folder {root}: test/{name} is no class of train/; accepted: {nearest(name, names)}")
    images = _decode(files + test_files, image_size)
    if names:
        test_labels = np.array([names.index(name) for name in test_names], np.int32)[test_labels]
    return Arrays(images[: len(files)], labels, images[len(files) :], test_labels, names)


def _check_directory(directory: str, root: Path) -> None:
    if not directory:
        raise InputError("folder: no directory is named; expected folder:<dir>")
    if root.is_file():
        raise InputError(f"folder {root}: is a file; expected a directory of images (npz:<path> reads an .npz file)")
    if not root.is_dir():
        raise InputError(f"folder {root}: no such directory")


def _listing(folder: Path) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """The class names (none where there are no class folders), the files and their labels."""
    flat, folders = _visible(folder)
    if flat and folders:
        both = f"images ({flat[0].name}) and folders ({folders[0].name})"
        raise InputError(f"folder {folder}: holds {both}; expected one of the two")
    if not folders:
        if not flat:
            raise InputError(f"folder {folder}: holds no images; accepted: {', '.join(TYPES)}")
        return (), flat, np.full(len(flat), -1, np.int32)
    inside = [_visible(f)[0] for f in folders]
    for f, images in zip(folders, inside, strict=True):
        if not images:
            raise InputError(f"folder {f}: the class holds no images; accepted: {', '.join(TYPES)}")
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), [len(images) for images in inside])
    return tuple(f.name for f in folders), [file for images in inside for file in images], labels


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images and the folders right inside a folder, hidden ones left out, in alphabetical order."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except PermissionError:
        raise InputError(f"folder {folder}: no permission to read it") from None
    images = [e for e in entries if e.suffix.lower() in TYPES and not e.is_dir()]
    return images, [e for e in entries if e.is_dir()]


def _decode(files: Sequence[Path], image_size: int | None) -> np.ndarray:
    """All images as one array `[N, H, W, C]`."""
    images = [_image(file) for file in files]
    if image_size is not None:
        images = [resize_crop(image, image_size) for image in images]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            raise InputError(
                f"folder: {files[0]} is {_size(images[0])} and {file} is {_size(image)} (height x width): "
                "expected one size, or --config.data.image_size=<pixels> to resize and crop all"
            )
    channels = max(image.shape[-1] for image in images)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])


def _image(file: Path) -> np.ndarray:
    """One image, uint8 `[H, W, 1]` if it is grey and `[H, W, 3]` if not."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode = image.mode
            if mode[0] in "IF":
                raise InputError(f"image {file}: has more than 8 bits a channel (mode {mode}); expected 8 bits")
            if mode in ("1", "L", "LA"):
                return np.array(image.convert("L"))[..., None]
            # A palette with transparency goes to RGB by way of RGBA, or Pillow warns.
            return np.array((image.convert("RGBA") if mode == "P" else image).convert("RGB"))
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"image {file}: no permission to read it") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise InputError(f"image {file}: cannot be decoded, the file is damaged or no image") from None


def _size(image: np.ndarray) -> str:
    return "x".join(str(n) for n in image.shape[:2])
