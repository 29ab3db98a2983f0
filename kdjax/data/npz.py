"""Sets kept as one npz file."""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.given import given_path
from kdjax.core.memory import check_memory
from kdjax.core.plain import open_plain
from kdjax.data.classes import check_classes
from kdjax.data.sampler import TEST_SPLIT
from kdjax.data.source import Arrays
from kdjax.data.split import stratified

NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
VALIDATION = ("val_images", "val_labels")


def read_npz(path: str) -> Arrays:
    """Reads an npz file with four arrays, or six; further arrays in it are left alone.

    `train_images` and `test_images` are uint8 `[N, H, W, C]`, or `[N, H, W]` for grey. `train_labels` and `test_labels`
    are of any integer dtype, `[N]`, and count from 0; the number of classes is the largest training label + 1, and at most
    that of the training images. `val_images` and `val_labels`, where both are there, are the validation set. A file without
    `train_labels` holds images without labels: `test_labels` may be missing as well (where they are there, the classes are
    theirs), and `test_images`, for which a fifth of the others is then cut with the fixed seed 0. Pickled objects
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
    parts = [part for part in ("train", "test", "val") if f"{part}_images" in found]
    images = {part: _with_channels(found[f"{part}_images"]) for part in parts}
    labels = {part: _checked_labels(file, f"{part}_labels", found[f"{part}_labels"]) for part in parts if f"{part}_labels" in found}
    classes = _classes(file, labels)
    labels = {part: np.full(len(images[part]), -1, np.int32) for part in parts} | labels
    if "test" not in parts:
        try:
            kept, cut = stratified(labels["train"], 0.2, seed=0, stream=TEST_SPLIT)
        except InputError as error:
            raise InputError(f"npz {file}: {error}") from None
        images, labels = ({"train": x["train"][kept], "test": x["train"][cut]} for x in (images, labels))
    names = tuple(str(c) for c in range(classes))
    return Arrays(
        images["train"], labels["train"], images["test"], labels["test"], names, images.get("val"), labels.get("val")
    )  # fmt: skip


def _classes(file: Path, labels: dict[str, np.ndarray]) -> int:
    """How many classes there are by the labels of the first part that has some."""
    if not labels:
        return 0
    by = next(iter(labels))
    if labels[by].min() > 0:
        raise InputError(f"npz {file}: {by}_labels start at {labels[by].min()}: expected labels from 0")
    classes = int(labels[by].max()) + 1
    check_classes(f"npz {file}", classes, len(labels[by]))
    for part in labels:
        if (most := labels[part].max()) >= classes:
            raise InputError(f"npz {file}: {part}_labels hold {most}: expected 0 to {classes - 1}, the classes of {by}_labels")
    return classes


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
                keys = _keys(archive.files)
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


def _keys(held: Sequence[str]) -> list[str]:
    """The arrays that are read, those that must be there among them."""
    others = set(held) - {*NEEDED, *VALIDATION}
    if "train_labels" in held or "train_images" not in held or get_close_matches("train_labels", others, cutoff=0.8):
        return [*NEEDED, *(VALIDATION if set(VALIDATION) & set(held) else ())]
    return ["train_images", *(key for key in ("test_images", "test_labels") if {key, "test_labels"} & set(held))]


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
