"""Checkpoints of `torch.save`: what torch wrote is read, and nothing that a pickle asks for is done."""

import collections
import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models.pretrained.pytorch_file import LEGACY, read_checkpoint
from tests.golden.parity.make import weight

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
TABLE = np.arange(12.0, dtype=np.float32).reshape(3, 4)


def refusal(content):
    with pytest.raises(InputError) as info:
        read_checkpoint(content)
    return str(info.value)


@pytest.mark.parametrize(("form", "kind"), [("zip", "pytorch"), ("legacy", "pytorch before 1.6")])
def test_a_checkpoint_that_torch_wrote(form, kind):
    """With options, counters and NumPy numbers around the `state_dict`; views, shared storages and half precision in it."""
    arrays, found = read_checkpoint((GOLDEN / f"checkpoint_{form}.pth").read_bytes())[:2]
    arrays = {k.removeprefix("module."): x for k, x in arrays.items()}
    assert found == kind
    expected = {
        "conv1.weight": weight("conv1.weight", (2, 3, 3, 3)), "bn1.bias": weight("bn1.bias", (2,)),
        "bn1.num_batches_tracked": np.int64(5), "transposed": TABLE.T, "shared": TABLE[1:, ::2],
        "half": TABLE.astype(np.float16), "brain": TABLE,
    }  # fmt: skip
    assert list(arrays) == list(expected)
    for name, x in expected.items():
        np.testing.assert_array_equal(arrays[name].astype(x.dtype), x, err_msg=name)
        assert arrays[name].flags.c_contiguous and arrays[name].flags.writeable
    assert [arrays[k].dtype.name for k in ("half", "brain", "shared")] == ["float16", "bfloat16", "float32"]


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_payload_is_refused_and_not_run(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = (GOLDEN / f"payload_{form}.pth").read_bytes()
    assert b"touch ran" in content
    assert refusal(content) == "its pickle names 'posix.system': only tensors and plain values are read; save a state_dict"
    assert not list(tmp_path.iterdir())


class Reduced:
    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Reduced(os.system, ("touch ran",)), "posix.system"),
        (Reduced(eval, ("open('ran', 'w')",)), "builtins.eval"),
        (Reduced(getattr, (collections.OrderedDict, "__subclasses__")), "builtins.getattr"),
        (Reduced(__import__, ("os",)), "builtins.__import__"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_other_names_are_refused(payload, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(b"\x80\x02" * (not protocol) + pickle.dumps(payload, protocol))
    assert f"its pickle names '{name}'" in said.replace("__builtin__", "builtins")
    assert not list(tmp_path.iterdir())


def test_inert_names_are_not_what_they_are_called():
    """A name of the vocabulary may be called and filled; it stays without effect, and so does what is set on it."""
    content = b"\x80\x02cargparse\nNamespace\nq\x00(X\x01\x00\x00\x00aK\x01tR}(X\x01\x00\x00\x00bK\x02ub."
    assert "did not write, of type Inert" in refusal(content)


def test_what_a_file_sets_is_gone_with_it():
    rebuild = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
    defaults = rebuild + b"N}X\x0c\x00\x00\x00__defaults__(K\x01K\x01K\x01K\x01ts\x86b."
    assert "of type function" in refusal(defaults)
    assert "missing 4 required positional arguments" in refusal(rebuild + b")R.")


def row(*parts):
    return LEGACY + b"".join(pickle.dumps(x, 2) if not isinstance(x, bytes) else x for x in parts)


HEAD = (1001, {"little_endian": True, "protocol_version": 1001})


def tensor(size, stride, offset=0, count=4, key="0", kind="Float"):
    """The pickle of `{"w": a tensor}` as torch writes it."""

    def numbers(values):
        return b"(" + b"".join(b"\x8a\x08" + int(v).to_bytes(8, "little", signed=True) for v in values) + b"t"

    def text(s):
        return b"X" + len(s).to_bytes(4, "little") + s.encode()

    storage = (
        b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu") + b"K" + bytes([count]) + b"NtQ"
    )
    arguments = b"(" + storage + b"\x8a\x08" + offset.to_bytes(8, "little", signed=True) + numbers(size) + numbers(stride)
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89}tR"
    return b"\x80\x02}" + text("w") + rebuilt + b"s."


def legacy(pickled, storages=(("0", np.arange(4, dtype=np.float32)),), claim=None):
    data = b"".join((claim if claim is not None else x.size).to_bytes(8, "little") + x.tobytes() for _, x in storages)
    return row(*HEAD, pickled, [k for k, _ in storages], data)


def archive(pickled, *, compress=zipfile.ZIP_STORED, **records):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as z:
        z.writestr("net/data.pkl", pickled)
        for name, content in records.items():
            z.writestr(f"net/{name.replace('_', '/')}", content)
    return file.getvalue()


def test_views_as_written_by_hand():
    expected = np.array([[0, 2], [1, 3]], np.float32)
    for content in (legacy(tensor((2, 2), (1, 2))), archive(tensor((2, 2), (1, 2)), data_0=np.arange(4, dtype="<f4").tobytes())):
        arrays = read_checkpoint(content).arrays
        np.testing.assert_array_equal(arrays["w"], expected)
    on_gpu = legacy(tensor((2, 2), (1, 2)).replace(b"torch\nFloatStorage", b"torch.cuda\nFloatStorage"))
    np.testing.assert_array_equal(read_checkpoint(on_gpu).arrays["w"], expected)
    np.testing.assert_array_equal(read_checkpoint(legacy(tensor((5,), (0,), 3))).arrays["w"], np.full(5, 3.0))
    assert read_checkpoint(legacy(tensor((0, 3), (3, 1)))).arrays["w"].shape == (0, 3)
    np.testing.assert_array_equal(read_checkpoint(legacy(tensor((), (), 2))).arrays["w"], 2.0)
    np.testing.assert_array_equal(read_checkpoint(legacy(tensor((1,), (2**62,), 3))).arrays["w"], [3.0])


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0), ((2,), (1,), 3), ((2, 2), (2, 2), 0), ((2**40,), (0,), 0), ((2**31, 2**31), (0, 0), 0),
        ((0, 2**62, 2**62), (1, 1, 1), 0), ((2,), (2**62,), 0),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(size, stride, offset):
    assert re.search(r"tensor w of size .* does not fit its storage of 4 numbers", refusal(legacy(tensor(size, stride, offset))))


@pytest.mark.parametrize(("size", "stride", "offset"), [((-1,), (1,), 0), ((2,), (-1,), 3), ((2,), (1,), -1), ((2, 2), (1,), 0)])
def test_sizes_that_are_none_are_refused(size, stride, offset):
    assert "its tensor w is damaged" in refusal(legacy(tensor(size, stride, offset)))


def test_storages_that_are_cut_off_or_claim_too_much():
    good = legacy(tensor((4,), (1,)))
    assert "storage 0 claims 16 bytes, 15 are left" in refusal(good[:-1])
    assert "claims 1099511627776 bytes" in refusal(legacy(tensor((4,), (1,)), claim=2**38))
    assert "its storage 0 is missing" in refusal(legacy(tensor((4,), (1,)), storages=()))
    assert "its record data/0 is missing" in refusal(archive(tensor((4,), (1,))))
    assert "does not fit its storage of 3 numbers" in refusal(archive(tensor((4,), (1,)), data_0=bytes(15)))
    whole = (GOLDEN / "checkpoint_legacy.pth").read_bytes()
    for end in range(1, len(whole), 97):
        assert "\n" not in refusal(whole[:end])


def test_archives_that_grow_or_are_damaged_are_refused():
    bomb = archive(tensor((4,), (1,)), compress=zipfile.ZIP_DEFLATED, data_0=bytes(10**6))
    assert len(bomb) < 5000 and "its records are compressed" in refusal(bomb)
    good = archive(tensor((4,), (1,)), data_0=np.arange(4, dtype="<f4").tobytes())
    assert "it is cut off or damaged" in refusal(good[:-30])
    flipped = good.replace(np.float32(3).tobytes(), np.float32(5).tobytes(), 1)
    assert flipped != good and "its record data/0 is damaged (Bad CRC-32" in refusal(flipped)
    assert "its numbers are big-endian" in refusal(archive(tensor((4,), (1,)), byteorder="big"))
    assert "TorchScript archive" in refusal(archive(b"", **{"constants.pkl": b""}))
    plain = io.BytesIO()
    np.savez(plain, a=np.zeros(2))
    assert "a zip archive without one data.pkl" in refusal(plain.getvalue())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x80\x02.", "its pickle is cut off or damaged"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "its pickle is damaged (LONG_BINPUT 2147483647)"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", "its pickle"),
        (b"\x80\x02\x82\x01.", "its pickle holds EXT1"),
        (pickle.dumps({"a": 1}, 2), "a pickle that torch.save did not write, of type dict"),
        (row(7, HEAD[1]), "its version or byte order is not known"),
        (row(1001, {"little_endian": False}), "its version or byte order is not known"),
        (row(*HEAD, {"epoch": 3, "arch": "x"}, []), "it holds epoch, arch: expected tensors by name, or a state_dict under"),
        (row(*HEAD, {"model": {"net": {}}}, []), "it holds nothing"),
        (row(*HEAD, [1], []), "it holds a list"),
        (row(*HEAD, b"\x80\x02X\x01\x00\x00\x00aQ.", []), "its pickle is cut off or damaged"),
        (legacy(tensor((4,), (1,), kind="Quint8")), "its pickle names 'torch.Quint8Storage'"),
    ],
)
def test_what_is_no_checkpoint_is_one_line(content, line):
    said = refusal(content)
    assert line in said and "\n" not in said


def test_wrappers_are_looked_through():
    inside, beside = tensor((4,), (1,))[2:-1], tensor((2,), (1,))[3:-1]  # a dict; and an entry, such as an accuracy
    for name in ("state_dict", "model_state_dict", "model", "net"):
        for more in (b"", beside):
            wrapped = b"\x80\x02}X" + len(name).to_bytes(4, "little") + name.encode() + inside + b"s" + more + b"."
            arrays = read_checkpoint(legacy(wrapped)).arrays
            assert list(arrays) == ["w"] and arrays["w"].shape == (4,)
