"""Sets kept as one npz file."""

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core.check import InputError, nearest
from kdjax.core.memory import check_memory
from kdjax.core.paths import user_path
from kdjax.core.plain import open_plain
from kdjax.data.classes import check_classes
from kdjax.data.sampler import TEST_SPLIT
from kdjax.data.source import Arrays, row_labels
from kdjax.data.split import stratified

PARTS = ("train", "test", "val")
MAIN = ("images", "tokens")  # the rows themselves: a file without images may hold tokens
KEPT = {"images", "tokens", "labels", "image", "label", "index"}  # no names of further columns


def read_npz(path: str) -> Arrays:
    """Reads an npz file with four arrays, or six, and further columns.

    `train_images` and `test_images` are uint8 `[N, H, W, C]`, or `[N, H, W]` for grey. `train_labels` and `test_labels`
    are of any integer dtype, `[N]`, and count from 0; the number of classes is the largest training label + 1, and at most
    that of the training images. They may also be one class a pixel, `[N, H, W]`, where -1 means none. `val_images` and
    `val_labels`, where both are there, are the validation set. `train_<name>` and `test_<name>` (and `val_<name>`), numbers with
    as many rows as the images, are the column `<name>` (masks, boxes, targets, domains); numbers of 64 bits become 32. Other
    arrays are left alone. In a file without images `train_tokens` and `test_tokens`, numbers `[N, T]` or `[N, T, C]`, stand in
    their place, with labels `[N]` or `[N, T]`. A file without
    `train_labels` holds images without labels: `test_labels` may be missing as well (where they are there, the classes are
    theirs), and `test_images`, for which a fifth of the others is then cut with the fixed seed 0. One with `test_images` and
    `test_labels`, and nothing whose name begins with `train`, has no training rows, and the classes are theirs. Pickled objects
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
    >>> read_npz(file).train["image"].shape
    (4, 2, 2, 1)
    """
    file = user_path(path)
    if not path:
        raise InputError("npz: no file is named; expected npz:<path>")
    found = _found(file)
    main = _main(found)
    parts = [part for part in PARTS if f"{part}_{main}" in found]
    rows = {part: {_column(key): _narrow(file, key, x) for key, x in found.items() if key.startswith(f"{part}_")} for part in parts}
    classes = _classes(file, {part: columns["label"] for part, columns in rows.items() if "label" in columns}, main)
    if "train" not in rows:
        rows["train"] = {key: x[:0] for key, x in rows["test"].items()}
    for columns in rows.values():
        columns.setdefault("label", np.full(len(next(iter(columns.values()))), -1, np.int32))
    if "test" not in rows:
        try:
            kept, cut = stratified(row_labels(rows["train"]["label"]), 0.2, seed=0, stream=TEST_SPLIT)
        except InputError as error:
            raise InputError(f"npz {file}: {error}") from None
        rows = {name: {key: x[at] for key, x in rows["train"].items()} for name, at in (("train", kept), ("test", cut))}
    return Arrays(rows["train"], rows["test"], tuple(str(c) for c in range(classes)), rows.get("val"))


def _main(held: Iterable[str]) -> str:
    """What the rows are: tokens where there are no images."""
    return MAIN["train_images" not in held and "train_tokens" in held]


def _column(key: str) -> str:
    """The column that an array becomes: of `train_images` `image`, of `train_mask` `mask`."""
    name = key.partition("_")[2]
    return {"images": "image", "labels": "label"}.get(name, name)


def _narrow(file: Path, key: str, x: np.ndarray) -> np.ndarray:
    """An array as a batch holds it: grey images with a channel, numbers of at most 32 bits."""
    if key.endswith("_images"):
        return x[..., None] if x.ndim == 3 else x
    if key.endswith("_labels"):
        least = 0 if x.ndim == 1 else -1
        if x.min() < least:
            raise InputError(f"npz {file}: {key} hold {x.min()}: expected integers from {least}")
    if x.dtype.kind == "f":
        return x.astype(np.float32) if x.dtype.itemsize > 4 else x
    if x.dtype.kind == "b" or (x.dtype.itemsize < 4 and not key.endswith("_labels")):
        return x
    if x.size and (x.max() >= 2**31 - 1 or x.min() < -(2**31)):
        held = x.max() if x.max() >= 2**31 - 1 else x.min()
        raise InputError(f"npz {file}: {key} hold {held}: expected integers below 2^31 - 1")
    return x.astype(np.int32)


def _classes(file: Path, labels: dict[str, np.ndarray], main: str) -> int:
    """How many classes there are by the labels of the first part that has some."""
    if not labels:
        return 0
    by = next(iter(labels))
    known = labels[by][labels[by] >= 0]
    if not known.size:
        return 0
    if main == "images" and known.min() > 0:
        raise InputError(f"npz {file}: {by}_labels start at {known.min()}: expected labels from 0")
    classes = int(known.max()) + 1
    check_classes(f"npz {file}", classes, labels[by].size if main == "images" else classes)
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
                declared = {key: _declared(file, archive, key) for key in _keys(archive.files)}
                declared |= _further(file, archive, declared)
                _check_declared(file, declared)
                return {key: _read(file, archive, key) for key in declared}
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
    """The images (or tokens) and labels that are read, those that must be there among them."""
    main = _main(held)
    needed = [f"{part}_{what}" for part in ("train", "test") for what in (main, "labels")]
    validation = [f"val_{main}", "val_labels"]
    others = set(held) - {*needed, *validation}
    if {f"test_{main}", "test_labels"} <= set(held) and not any(key.startswith("train") for key in held):
        return [f"test_{main}", "test_labels"]
    misspelt = get_close_matches("train_labels", others, cutoff=0.8)
    if "train_labels" in held or f"train_{main}" not in held or misspelt:
        return [*needed, *(validation if {*validation} & {*held} else ())]
    return [f"train_{main}", *(key for key in (f"test_{main}", "test_labels") if {key, "test_labels"} & set(held))]


def _further(file: Path, archive: Any, declared: Mapping[str, _Declared]) -> dict[str, _Declared]:
    """The arrays that are further columns: numbers with as many rows as their part."""
    main, found = _main(declared), {}
    for part in (part for part in PARTS if f"{part}_{main}" in declared):
        names = [key for key in archive.files if key.startswith(f"{part}_") and key.partition("_")[2] not in KEPT]
        for key in (key for key in names if f"{key}.npy" in archive.zip.namelist()):
            about = _declared(file, archive, key)
            numbers = about.dtype.kind in "biuf" and _column(key).isidentifier()  # a name that a file can have
            if numbers and about.shape[:1] == declared[f"{part}_{main}"].shape[:1]:
                found[key] = about
    return found


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
        check = {"images": _check_images, "labels": _check_labels, "tokens": _check_tokens}.get(key.partition("_")[2])
        if check:
            check(file, key, shape, dtype)
        if held < declared[key].bytes:
            raise InputError(
                f"npz {file}: array {key!r} is damaged (it declares {declared[key].bytes} bytes and has {held}); expected a plain "
                "numeric array"
            )
    main = _main(declared)
    for key in declared:
        part, _, what = key.partition("_")
        count, *size = declared[f"{part}_{main}"].shape
        shape = declared[key].shape
        if what == "labels" and shape not in ((count,), (count, *size[: 2 if main == "images" else 1])):
            if shape[0] != count:
                raise InputError(f"npz {file}: {key} has {shape[0]} entries, {part}_{main} {count}: expected as many")
            each = "[N], one integer an image, or [N, H, W]" if main == "images" else "[N], or [N, T] as the tokens"
            raise InputError(f"npz {file}: {key} has shape {shape}: expected {each}")
        _, *train_size = declared.get(f"train_{main}", declared[f"{part}_{main}"]).shape
        if what == "images" and _three(size) != _three(train_size):
            sizes = f"{key} hold {_size(size)}, train_images {_size(train_size)}"
            raise InputError(f"npz {file}: {sizes}: expected one size")
        first = declared.get(f"train_{what}")
        if what != "images" and first and shape[1:] != first.shape[1:]:
            raise InputError(f"npz {file}: {key} has shape {shape}, train_{what} {first.shape}: expected rows of one shape")
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
    if len(shape) < 1:
        raise InputError(f"npz {file}: {key} has shape {shape}: expected [N], one integer a row")


def _check_tokens(file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind not in "iuf" or len(shape) not in (2, 3) or min(shape) < 1:
        raise InputError(f"npz {file}: {key} is {dtype} of shape {shape}: expected numbers, [N, T] or [N, T, C]")


def _read(file: Path, archive: Any, key: str) -> np.ndarray:
    try:
        return archive[key]
    except Exception as error:  # of zip, of any compression, of NumPy
        raise _damaged(file, key, error) from None


def _damaged(file: Path, key: str, error: Exception) -> InputError:
    return InputError(f"npz {file}: array {key!r} is damaged ({_line(error)}); expected a plain numeric array")


def _three(size: list[int]) -> list[int]:
    return size if len(size) == 3 else [*size, 1]


def _size(size: list[int]) -> str:
    return "x".join(map(str, _three(size)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
