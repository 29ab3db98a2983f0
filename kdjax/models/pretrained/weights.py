"""Files of weights: safetensors out and in, PyTorch checkpoints in."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError, check_memory
from kdjax.core.extra import extra
from kdjax.core.files import parse_json, write_bytes
from kdjax.core.paths import user_path
from kdjax.core.printable import printable
from kdjax.core.tree_paths import by_path
from kdjax.models.pretrained.pytorch_file import read_checkpoint

_CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
_DTYPES = {code: np.dtype(getattr(jnp, name)) for name, code in _CODES.items()}
_OTHERS = {  # what a file starts with -> what it is
    b"version https://git-lfs": "is a git-lfs pointer, not the file itself; `git lfs pull` fetches it",
    b"<": "is a web page, of a download that failed",
    b"\x1f\x8b": "is a gzip archive",
    b"\x89HDF": "is an HDF5 file",
}


class WeightFile(NamedTuple):
    """What a file of weights holds.

    Attributes:
      arrays: by name; `params/<path>` and `stats/<path>` in kdjax's own files, PyTorch's names in others.
      metadata: of a safetensors file; its `kdjax` is the specification, as JSON.
      sha256: of the file.
      format: `"kdjax"`, `"safetensors"` (of another library), `"pytorch"` or `"pytorch before 1.6"`.
      told: which of several sets of weights was taken, and how to ask for the others; empty where there is one.
      part: what of the `part` asked for is no key of a checkpoint: a prefix of names, for `from_pytorch`.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    sha256: str
    format: str
    told: str = ""
    part: str = ""


def write_weights(
    path: str | Path, params: Any, stats: Any, specification: Mapping[str, Any], *, about: Mapping[str, str] | None = None
) -> None:
    """Writes a net with its weights as one safetensors file; the same net gives the same bytes.

    The file is there as a whole or not at all. `models.build(json.loads(metadata["kdjax"]))` is the net again.

    Args:
      path: the file; its folder must be there.
      params: nested dicts of arrays.
      stats: likewise.
      specification: what `models.build` makes the net from.
      about: further metadata, text by name.

    >>> import jax
    >>> from kdjax.models import build
    >>> specification = {"name": "conv_net", "widths": [2], "classes": 3}
    >>> params, stats = build(specification).init(jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> write_weights(file, params, stats, specification, about={"licence": "none"})
    >>> found = read_weights(file)
    >>> found.format, found.metadata["kdjax"], sorted(found.arrays)[0]
    ('kdjax', '{"name": "conv_net", "widths": [2], "classes": 3}', 'params/classifier/bias')
    """
    arrays = {f"params/{k}": x for k, x in by_path(params).items()} | {f"stats/{k}": x for k, x in by_path(stats).items()}
    write_bytes(user_path(path), _safetensors(arrays, {"kdjax": json.dumps(dict(specification)), **(about or {})}))


def read_weights(path: str | Path, *, part: str = "") -> WeightFile:
    """Reads a safetensors file, or a checkpoint that `torch.save` wrote, without running anything that is in it.

    What the file is, its content says; its name does not matter. Of a checkpoint the `state_dict` is read: one by itself, or the
    one under a key such as `state_dict` or `model`; where plain and averaged (EMA) weights lie side by side, the plain ones.

    Args:
      path: the file.
      part: which of several sets of weights in a checkpoint: its key, or `"ema"` for averaged ones.

    Returns:
      A WeightFile.

    Raises:
      InputError: one line that names the file and what is wrong with it.
    """
    path = user_path(path)
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}: expected a file of weights")
    try:
        check_memory(f"{path}: its arrays", 2 * path.stat().st_size, "a smaller file of weights")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): expected a file of weights") from None
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        if content[8:9] == b"{":
            arrays, metadata = _from_safetensors(content)
            return WeightFile(arrays, metadata, sha256, "kdjax" if "kdjax" in metadata else "safetensors", part=part)
        if content.startswith((b"PK", b"\x80")):
            found = read_checkpoint(content, part)
            return WeightFile(found.arrays, {}, sha256, found.format, found.told, found.part)
        start = content[:200].lstrip()
        what = next((said for sign, said in _OTHERS.items() if start.startswith(sign)), f"starts with {start[:12]!r}")
        raise InputError(f"it {what if start else 'is empty'}: expected safetensors, or what torch.save writes")
    except InputError as error:  # which may quote names from the file
        raise InputError(f"{path} is refused: {printable(error)}") from None


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flat` for nested dicts.

    >>> nested({"a/b": 1, "a/c": 2})
    {'a': {'b': 1, 'c': 2}}
    """
    tree: dict[str, Any] = {}
    for path, x in arrays.items():
        *above, name = path.split("/")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
        node[name] = x
    return tree


def _safetensors(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    # Written here, because the library orders metadata by chance: the sha256 of a net would differ from save to save.
    found = {name: np.asarray(x) for name, x in arrays.items()}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    order, end = sorted(found, key=lambda name: (-found[name].itemsize, name)), 0  # so that all are aligned
    for name in order:
        x = found[name]
        header[name] = {"dtype": _CODES[x.dtype.name], "shape": list(x.shape), "data_offsets": [end, end + x.nbytes]}
        end += x.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    little = (found[name].astype(found[name].dtype.newbyteorder("<"), copy=False) for name in order)
    return b"".join([len(head).to_bytes(8, "little"), head, *(x.tobytes() for x in little)])


def _from_safetensors(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with extra("run"):
        from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(content)
    except SafetensorError as error:
        raise InputError(f"it is damaged as a safetensors file ({error})") from None
    arrays = {}
    for name, x in found:
        if x["dtype"] not in _DTYPES:
            raise InputError(f"{name} is of type {x['dtype']}; accepted: {', '.join(_DTYPES)}")
        arrays[name] = np.frombuffer(x["data"], _DTYPES[x["dtype"]]).reshape(x["shape"])
    try:
        head = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except ValueError as error:
        raise InputError(f"it is damaged as a safetensors file ({error})") from None
    return arrays, head.get("__metadata__") or {}
