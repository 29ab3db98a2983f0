"""Checkpoints that `torch.save` wrote, read without torch and without running what is pickled in them.

A pickle can name any function of any module and have it called. Here names stand for a fixed vocabulary: tensors and storages
become plain records, a few inert things that real checkpoints hold (the options of a script, NumPy numbers) become objects that do
nothing, and any other name ends the reading before it is looked up.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError
from kdjax.models.pretrained.prefix import AVERAGED, choose, is_averaged

LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # a pickled number: what torch.save wrote first until version 1.6
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put the state_dict, before all others
_NO_WEIGHTS = ("optim", "sched", "scaler", "criterion", "loss", "rng", "param_groups")  # in names of what is no network
_KINDS = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
_INERT = {
    "_codecs": ("encode",),
    "argparse": ("Namespace",),
    **dict.fromkeys(("builtins", "__builtin__"), ("bytearray", "complex", "frozenset", "object", "set", "slice")),
    "collections": ("Counter", "defaultdict", "deque"),
    **dict.fromkeys(("copyreg", "copy_reg"), ("_reconstructor",)),
    "datetime": ("date", "datetime", "timedelta"),
    "numpy": ("dtype", "ndarray"),
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), ("_reconstruct", "scalar")),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "WindowsPath"),
    "torch": ("bfloat16", "bool", "device", "float16", "float32", "float64", "int32", "int64", "int8", "uint8"),
    "types": ("SimpleNamespace",),
}
# Objects of a cache that all readers of a process share, and sizes that are allocated before they are checked.
_REFUSED = ("EXT1", "EXT2", "EXT4", "BYTEARRAY8", "NEXT_BUFFER")


class _Storage(NamedTuple):
    kind: str
    key: str
    offset: int = 0


class _Tensor(NamedTuple):
    storage: Any
    offset: Any
    size: Any
    stride: Any


class Checkpoint(NamedTuple):
    """What was read of a checkpoint.

    Attributes:
      arrays: by name, in the dtypes they were saved in.
      format: `"pytorch"` or `"pytorch before 1.6"`.
      told: which of several state_dicts it is, and how to ask for the others; empty where there is one.
      part: what of `part` is still to be found, among the names.
    """

    arrays: dict[str, np.ndarray]
    format: str
    told: str = ""
    part: str = ""


def read_checkpoint(content: bytes, part: str = "") -> Checkpoint:
    """The `state_dict` of a checkpoint: one by itself, or the one under a key, in whatever lies around it.

    Where there are several, plain weights go before averaged ones, and `state_dict`, `model_state_dict`, `model` and `net` before
    other keys.

    Both forms are read: the zip archive of PyTorch 1.6 and later, and the row of pickles before it. A size that does not fit the
    length of the file is refused, so a small file makes nothing large.

    Args:
      content: of the file.
      part: the key, `"ema"` for averaged weights, or what is no key but a prefix of names.

    Raises:
      InputError: one line that says what is wrong, without the name of the file.

    >>> read_checkpoint(pickle.dumps(print))
    Traceback (most recent call last):
    kdjax.core.check.InputError: its pickle names 'builtins.print': only tensors and plain values are read; save a state_dict
    """
    archive = content.startswith(b"PK")
    value, record = _read_archive(content) if archive else _read_row(content)
    found, told, part = _state_dict(value, part)
    cache: dict[str, bytes] = {}
    arrays = {name: _array(name, x, record, cache) for name, x in found.items()}
    return Checkpoint(arrays, "pytorch" if archive else "pytorch before 1.6", told, part)


def _state_dict(value: Any, part: str) -> tuple[dict[str, _Tensor], str, str]:
    if not isinstance(value, Mapping):
        what = "one tensor" if isinstance(value, _Tensor) else f"a {type(value).__name__}"
        raise InputError(f"it holds {what}: expected a state_dict, which is tensors by name")
    found = dict(_state_dicts(value, (), set()))
    if not found:
        for _ in range(4):  # the innermost wrapper is told
            value = next((value[name] for name in WRAPPERS if isinstance(value.get(name), Mapping)), value)
        names = ", ".join(str(name)[:40] for name in list(value)[:6]) or "nothing"
        raise InputError(f"it holds {names}: expected tensors by name, or a state_dict under {', '.join(WRAPPERS)}")
    own = part in found or (part == AVERAGED and any(is_averaged(name) for name in found))
    name, told = choose(found, part if own else "", WRAPPERS)
    return found[name], told if len(found) > 1 or is_averaged(name) else "", "" if own else part


def _state_dicts(value: Mapping, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, dict[str, _Tensor]]]:
    """The mappings of tensors in a checkpoint, by the keys above them; an accuracy beside them may be a tensor, too."""
    seen.add(id(value))
    inside: list[tuple[str, dict[str, _Tensor]]] = []
    for key, x in value.items():
        named = isinstance(key, str) and not any(word in key for word in _NO_WEIGHTS)
        if named and isinstance(x, Mapping) and len(path) < 4 and id(x) not in seen:
            inside += _state_dicts(x, (*path, key), seen)
    found = {str(name): x for name, x in value.items() if isinstance(x, _Tensor)}
    yield from inside or ([(".".join(path), found)] if found else [])


def _read_archive(content: bytes) -> tuple[Any, Callable]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:  # zipfile raises many kinds; all mean that the archive cannot be read
        raise InputError(f"it is cut off or damaged ({_reason(error)})") from None
    records = {info.filename: info for info in archive.infolist()}
    main = [name for name in records if name.rpartition("/")[2] == "data.pkl"]
    if len(main) != 1:
        raise InputError("it is a zip archive without one data.pkl: expected one that torch.save wrote")
    above = main[0].removesuffix("data.pkl")
    if above + "constants.pkl" in records:
        raise InputError("it is a TorchScript archive: expected a state_dict, saved by torch.save")
    # torch.save compresses nothing; what is not compressed cannot be larger than the file.
    stored = all(x.compress_type == zipfile.ZIP_STORED and x.file_size == x.compress_size for x in records.values())
    if not stored or sum(x.file_size for x in records.values()) > len(content):
        raise InputError("its records are compressed, or claim more bytes than it has: expected what torch.save writes")

    def read(name):
        if above + name not in records:
            raise InputError(f"its record {name} is missing: it is cut off or damaged")
        try:
            return archive.read(above + name)
        except Exception as error:
            raise InputError(f"its record {name} is damaged ({_reason(error)})") from None

    if above + "byteorder" in records and read("byteorder") != b"little":
        raise InputError("its numbers are big-endian: expected little-endian ones")
    value, _ = _unpickle(io.BytesIO(read("data.pkl")))
    return value, lambda key: read(f"data/{key}")


def _read_row(content: bytes) -> tuple[Any, Callable]:
    file = io.BytesIO(content)
    first, _ = _unpickle(file)
    if not content.startswith(LEGACY):
        raise InputError(f"it is a pickle that torch.save did not write, of type {type(first).__name__}: expected a state_dict")
    (version, _), (system, _) = _unpickle(file), _unpickle(file)
    if version != 1001 or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("its version or byte order is not known: expected version 1001, little-endian")
    (value, kinds), (keys, _) = _unpickle(file), _unpickle(file)
    found: dict[str, bytes] = {}
    for key in map(str, keys if isinstance(keys, list) else ()):
        length = int.from_bytes(file.read(8), "little", signed=True) * _dtype(kinds.get(key, "uint8")).itemsize
        left = len(content) - file.tell()
        if not 0 <= length <= left:
            raise InputError(f"it is cut off or damaged: storage {key} claims {length} bytes, {left} are left")
        found[key] = file.read(length)

    def read(key):
        if key not in found:
            raise InputError(f"its storage {key} is missing: it is cut off or damaged")
        return found[key]

    return value, read


def _unpickle(file: io.BytesIO) -> tuple[Any, dict[str, str]]:
    """The next pickle of a file, and the kinds of the storages that it names."""
    start = file.tell()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if opcode.name in _REFUSED:
                raise InputError(f"its pickle holds {opcode.name}, which torch.save does not write")
            # The place in a table that grows to it.
            if opcode.name.endswith("PUT") and isinstance(argument, int) and not 0 <= argument <= number:
                raise InputError(f"its pickle is damaged ({opcode.name} {argument})")
        end = file.tell()
        file.seek(start)
        reader = _Reader(io.BytesIO(file.read(end - start)), encoding="latin1")
        return reader.load(), reader.kinds
    except InputError:
        raise
    except Exception as error:  # a damaged pickle fails in many ways
        raise InputError(f"its pickle is cut off or damaged ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:100]


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, **options: Any):
        super().__init__(file, **options)
        self.kinds: dict[str, str] = {}
        self._known = _vocabulary()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._known:
            return self._known[module, name]
        raise InputError(f"its pickle names {f'{module}.{name}'[:80]!r}: only tensors and plain values are read; save a state_dict")

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, _, *view = pid
        if what != "storage" or kind not in _KINDS.values():
            raise InputError(f"its pickle refers to {str(what)[:20]!r}: expected storages of {', '.join(_KINDS)}")
        self.kinds[str(key)] = kind
        offset = view[0][1] if view and view[0] is not None else 0  # a storage inside a storage, before PyTorch 0.4
        return _Storage(kind, str(key), offset)


def _vocabulary() -> dict[tuple[str, str], Any]:
    # New for every file, because a pickle can set attributes of what it names.
    class Inert:
        def __init__(self, *args, **options): ...
        def __setstate__(self, state): ...
        def __setitem__(self, key, value): ...
        def append(self, value): ...
        def extend(self, values): ...
        def add(self, value): ...

    def tensor(storage, offset, size, stride, *more):
        return _Tensor(storage, offset, size, stride)

    def parameter(value, *more):
        return value

    known: dict[tuple[str, str], Any] = {(module, name): Inert for module, names in _INERT.items() for name in names}
    known |= {(f"torch{part}", f"{kind}Storage"): dtype for kind, dtype in _KINDS.items() for part in ("", ".cuda")}
    known |= {("torch._utils", name): tensor for name in ("_rebuild_tensor", "_rebuild_tensor_v2")}
    known |= {("torch._utils", name): parameter for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")}
    return known | {("collections", "OrderedDict"): OrderedDict, ("torch", "Size"): lambda sizes=(): tuple(sizes)}


def _array(name: str, tensor: _Tensor, record: Callable, cache: dict[str, bytes]) -> np.ndarray:
    storage, offset, size, stride = tensor
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    fine = all(type(n) is int and n >= 0 for n in numbers) and type(storage) is _Storage and type(storage.offset) is int
    if not fine or len(size) != len(stride) or storage.offset < 0:
        raise InputError(f"its tensor {name} is damaged: expected a storage, an offset, a size and strides")
    if storage.key not in cache:
        cache[storage.key] = record(storage.key)
    dtype, content = _dtype(storage.kind), cache[storage.key]
    flat = np.frombuffer(content, dtype, len(content) // dtype.itemsize)[storage.offset :]
    needed = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if math.prod(size) else 0
    # A stride of 0 repeats numbers, and so could ask for any amount of memory.
    if needed > flat.size or math.prod(n for n in size if n) > max(flat.size, 2**16):
        raise InputError(f"its tensor {name} of size {size} does not fit its storage of {flat.size} numbers: it is damaged")
    steps = [step * dtype.itemsize if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    return np.array(np.lib.stride_tricks.as_strided(flat[offset:], size, steps), order="C") if needed else np.zeros(size, dtype)


def _dtype(kind: str) -> np.dtype:
    return np.dtype(getattr(jnp, kind))  # JAX's, which know bfloat16
