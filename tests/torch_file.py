"""What `torch.save` writes, made without torch: nested dicts and lists of arrays and plain values."""

import io
import struct
import zipfile

import numpy as np

_KINDS = {"float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "int8": "Char"}


def torch_file(value):
    """The bytes of the zip archive."""
    storages = []
    pickled = b"\x80\x02" + _pickled(value, storages) + b"."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        for key, x in enumerate(storages):
            archive.writestr(f"net/data/{key}", x.tobytes())
    return file.getvalue()


def _pickled(value, storages):
    if isinstance(value, dict):
        inside = b"".join(_pickled(k, storages) + _pickled(x, storages) for k, x in value.items())
        return b"}(" + inside + b"u"
    if isinstance(value, list | tuple):
        start, end = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
        return start + b"".join(_pickled(x, storages) for x in value) + end
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, int):
        return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    x = np.asarray(value)
    storages.append(x)
    strides = [step // x.itemsize for step in np.ascontiguousarray(x).strides]
    kind = f"ctorch\n{_KINDS[x.dtype.name]}Storage\n".encode()
    words = [_pickled(word, []) for word in ("storage", str(len(storages) - 1), "cpu", x.size)]
    storage = b"(" + words[0] + kind + b"".join(words[1:]) + b"tQ"
    rest = _pickled(0, []) + _pickled(tuple(map(int, x.shape)), []) + _pickled(tuple(strides), [])
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"\x89}tR"
