"""Sets kept as one npz file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.given import given_path
from kdjax.data.source import Arrays

NEEDED = ("train_images", "train_labels", "test_images", "test_labels")


def read_npz(path: str) -> Arrays:
    """Reads an npz file with four arrays; further arrays in it are left alone.

    `train_images` and `test_images` are uint8 `[N, H, W, C]`, or `[N, H, W]` for grey. `train_labels` and `test_labels`
    are of any integer dtype, `[N]`, and count from 0; the number of classes is the largest training label + 1. Pickled
    objects are never loaded.

    Args:
      path: the file.

    Returns:
      Arrays; the names of the classes are their numbers.

    Raises:
      InputError: naming the file, the array, what was found and what is accepted.

    >>> import tempfile
    >>> file = tempfile.mkdtemp() + "/tiny.npz"
    >>> images, labels = np.zeros((4, 2, 2), np.uint8), np.array([0, 1, 0, 1])
    >>> np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    >>> read_npz(file).train_images.shape
    (4, 2, 2, 1)
    """
    file = given_path(path)
    if not path:
        raise InputError("npz: no file is named; expected npz:<path>")
    found = _found(file)
    images = {part: _images(file, f"{part}_images", found[f"{part}_images"]) for part in ("train", "test")}
    labels = {part: _labels(file, part, found[f"{part}_labels"], len(images[part])) for part in ("train", "test")}
    if images["train"].shape[1:] != images["test"].shape[1:]:
        sizes = f"test_images hold {_size(images['test'])}, train_images {_size(images['train'])}"
        raise InputError(f"npz {file}: {sizes}: expected one size")
    if labels["train"].min() > 0:
        raise InputError(f"npz {file}: train_labels start at {labels['train'].min()}: expected labels from 0")
    classes = int(labels["train"].max()) + 1
    if labels["test"].max() >= classes:
        most, wanted = labels["test"].max(), f"0 to {classes - 1}, the classes of train_labels"
        raise InputError(f"npz {file}: test_labels hold {most}: expected {wanted}")
    names = tuple(str(c) for c in range(classes))
    return Arrays(images["train"], labels["train"], images["test"], labels["test"], names)


def _found(file: Path) -> dict[str, np.ndarray]:
    try:
        if file.is_dir():
            raise InputError(f"npz {file}: is a directory; expected a file (folder:<dir> reads images in folders)")
        if not file.exists():
            raise InputError(f"npz {file}: no such file")
        # By name, NumPy would leave a damaged file open; of a file that is no archive it would say a word on pickles.
        with file.open("rb") as stream:
            if stream.read(2) != b"PK":
                raise InputError(f"npz {file}: is no npz file; expected an archive of numpy.savez")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {key: _read(file, archive, key) for key in NEEDED}
    except PermissionError:
        raise InputError(f"npz {file}: no permission to read it") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"npz {file}: is damaged ({_line(error)}); expected an archive of numpy.savez") from None


def _read(file: Path, archive, key: str) -> np.ndarray:
    if key not in archive.files:
        held = nearest(key, archive.files) or "nothing"
        raise InputError(f"npz {file}: array {key!r} is missing; the file holds: {held}")
    try:
        value = archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        what = "holds pickled objects" if "pickle" in str(error) else f"is damaged ({_line(error)})"
        raise InputError(f"npz {file}: array {key!r} {what}; expected a plain numeric array") from None
    if not isinstance(value, np.ndarray):
        raise InputError(f"npz {file}: {key!r} is not an array; expected a plain numeric array")
    return value


def _images(file: Path, key: str, images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8:
        hint = " (values in [0, 1]: store numpy.rint(255 * x) as uint8)" if images.dtype.kind == "f" else ""
        raise InputError(f"npz {file}: {key} is {images.dtype}: expected uint8, 0 to 255{hint}")
    if images.ndim not in (3, 4):
        raise InputError(f"npz {file}: {key} has shape {images.shape}: expected [N, H, W] or [N, H, W, C]")
    if 0 in images.shape:
        raise InputError(f"npz {file}: {key} has shape {images.shape} and so no pixels: expected 1 image or more")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise InputError(f"npz {file}: {key} has shape {images.shape}: expected channels last, [N, H, W, C]")
    return images[..., None] if images.ndim == 3 else images


def _labels(file: Path, part: str, labels: np.ndarray, count: int) -> np.ndarray:
    key = f"{part}_labels"
    if labels.dtype.kind not in "iu":
        raise InputError(f"npz {file}: {key} is {labels.dtype}: expected integers from 0")
    if labels.ndim != 1:
        raise InputError(f"npz {file}: {key} has shape {labels.shape}: expected [N], one integer an image")
    if len(labels) != count:
        raise InputError(f"npz {file}: {key} has {len(labels)} entries, {part}_images {count}: expected as many")
    if labels.min() < 0:
        raise InputError(f"npz {file}: {key} hold {labels.min()}: expected integers from 0")
    if labels.max() >= 2**31 - 1:
        raise InputError(f"npz {file}: {key} hold {labels.max()}: expected integers below 2^31 - 1")
    return labels.astype(np.int32)


def _size(images: np.ndarray) -> str:
    return "x".join(str(n) for n in images.shape[1:])


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
