"""Sets kept as one npz file."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.given import given_path
from kdjax.core.memory import check_memory
from kdjax.core.plain import open_plain
from kdjax.data.classes import check_classes
from kdjax.data.source import Arrays

NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
VALIDATION = ("val_images", "val_labels")


def read_npz(path: str) -> Arrays:
    """Reads an npz file with four arrays, or six; further arrays in it are left alone.

    `train_images` and `test_images` are uint8 `[N, H, W, C]`, or `[N, H, W]` for grey. `train_labels` and `test_labels`
    are of any integer dtype, `[N]`, and count from 0; the number of classes is the largest training label + 1, and at most
    that of the training images. `val_images` and `val_labels`, where both are there, are the validation set. Pickled objects
    are never loaded, and nothing is read before what the file declares of its arrays is found to be right and to fit into
    memory.

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
    parts = ("train", "test", "val")[: len(found) // 2]
    images = {part: _with_channels(found[f"{part}_images"]) for part in parts}
    labels = {part: _checked_labels(file, f"{part}_labels", found[f"{part}_labels"]) for part in parts}
    if labels["train"].min() > 0:
        raise InputError(f"npz {file}: train_labels start at {labels['train'].min()}: expected labels from 0")
    classes = int(labels["train"].max()) + 1
    check_classes(f"npz {file}", classes, len(labels["train"]))
    for part in parts:
        if (most := labels[part].max()) >= classes:
            wanted = f"0 to {classes - 1}, the classes of train_labels"
            raise InputError(f"npz {file}: {part}_labels hold {most}: expected {wanted}")
    names = tuple(str(c) for c in range(classes))
    return Arrays(
        images["train"], labels["train"], images["test"], labels["test"], names, images.get("val"), labels.get("val")
    )  # fmt: skip


class _Declared(NamedTuple):
    """What a member of the archive says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    held: int  # bytes of it that the archive holds

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _found(file: Path) -> dict[str, np.ndarray]:
    """The arrays as they lie in the file, each in agreement with the others."""
    try:
        if file.is_dir():
            raise InputError(f"npz {file}: is a directory; expected a file (folder:<dir> reads images in folders)")
        if not file.exists():
            raise InputError(f"npz {file}: no such file")
        # By name, NumPy would leave a damaged file open; of a file that is no archive it would say a word on pickles.
        with open_plain(file) as stream:
            if stream.read(2) != b"PK":
                raise InputError(f"npz {file}: is no npz file; expected an archive of numpy.savez")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                keys = (*NEEDED, *VALIDATION) if set(VALIDATION) & set(archive.files) else NEEDED
                declared = {key: _declared(file, archive, key) for key in keys}
                _check_declared(file, declared)
                return {key: _read(file, archive, key) for key in keys}
    except PermissionError:
        raise InputError(f"npz {file}: no permission to read it") from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"npz {file}: cannot be read ({error.strerror or _line(error)}); expected an archive of numpy.savez"
        ) from None
    except Exception as error:  # whatever a forged archive makes zipfile stumble over
        raise InputError(f"npz {file}: is damaged ({_line(error)}); expected an archive of numpy.savez") from None


def _declared(file: Path, archive: Any, key: str) -> _Declared:
    if key not in archive.files:
        held = nearest(key, archive.files) or "nothing"
        raise InputError(f"npz {file}: array {key!r} is missing; the file holds: {held}")
    member = f"{key}.npy"
    if member not in archive.zip.namelist():
        raise InputError(f"npz {file}: {key!r} is not an array; expected a plain numeric array")
    try:
        with archive.zip.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
            return _Declared(shape, dtype, archive.zip.getinfo(member).file_size - stream.tell())
    except Exception as error:  # a forged header reaches Python's own parser
        raise _damaged(file, key, error) from None


def _check_declared(file: Path, declared: dict[str, _Declared]) -> None:
    for key, (shape, dtype, held) in declared.items():
        if dtype.hasobject:
            raise InputError(f"npz {file}: array {key!r} holds pickled objects; expected a plain numeric array")
        (_check_images if key.endswith("images") else _check_labels)(file, key, shape, dtype)
        if held < declared[key].bytes:
            raise InputError(
                f"npz {file}: array {key!r} is damaged (it declares {declared[key].bytes} bytes and has {held}); expected a plain "
                "numeric array"
            )
    for key in declared:
        part, _, what = key.partition("_")
        count, *size = declared[f"{part}_images"].shape
        _, *train_size = declared["train_images"].shape
        if what == "labels" and declared[key].shape[0] != count:
            raise InputError(f"npz {file}: {key} has {declared[key].shape[0]} entries, {part}_images {count}: expected as many")
        if what == "images" and _three(size) != _three(train_size):
            sizes = f"{key} hold {_size(size)}, train_images {_size(train_size)}"
            raise InputError(f"npz {file}: {sizes}: expected one size")
    needed = sum(x.bytes for x in declared.values())
    check_memory(f"npz {file}: its arrays", needed, "a smaller file, or folder:<dir>, whose images are read when they are needed")


def _check_images(file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype != np.uint8:
        hint = " (values in [0, 1]: store numpy.rint(255 * x) as uint8)" if dtype.kind == "f" else ""
        raise InputError(f"npz {file}: {key} is {dtype}: expected uint8, 0 to 255{hint}")
    if len(shape) not in (3, 4):
        raise InputError(f"npz {file}: {key} has shape {shape}: expected [N, H, W] or [N, H, W, C]")
    if min(shape) < 1:
        raise InputError(f"npz {file}: {key} has shape {shape} and so no pixels: expected 1 image or more")
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] > 4:
        raise InputError(f"npz {file}: {key} has shape {shape}: expected channels last, [N, H, W, C]")


def _check_labels(file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind not in "iu":
        raise InputError(f"npz {file}: {key} is {dtype}: expected integers from 0")
    if len(shape) != 1:
        raise InputError(f"npz {file}: {key} has shape {shape}: expected [N], one integer an image")


def _read(file: Path, archive: Any, key: str) -> np.ndarray:
    try:
        return archive[key]
    except Exception as error:  # of zip, of any compression, of NumPy
        raise _damaged(file, key, error) from None


def _damaged(file: Path, key: str, error: Exception) -> InputError:
    return InputError(f"npz {file}: array {key!r} is damaged ({_line(error)}); expected a plain numeric array")


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def _checked_labels(file: Path, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0:
        raise InputError(f"npz {file}: {key} hold {labels.min()}: expected integers from 0")
    if labels.max() >= 2**31 - 1:
        raise InputError(f"npz {file}: {key} hold {labels.max()}: expected integers below 2^31 - 1")
    return labels.astype(np.int32)


def _three(size: list[int]) -> list[int]:
    return size if len(size) == 3 else [*size, 1]


def _size(size: list[int]) -> str:
    return "x".join(map(str, _three(size)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
