"""Files of weights: out and in, the same bytes each time, and one line for what is none."""

import hashlib
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from kdjax.core import InputError
from kdjax.core.tree_paths import by_path
from kdjax.models import build, read_weights, write_weights
from kdjax.models.pretrained import nested
from kdjax.models.pretrained.pytorch_file import LEGACY

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
SPECIFICATION = {"name": "conv_net", "widths": (2, 3), "classes": 4, "mean": [0.5], "std": [0.25]}


def test_a_net_comes_back(tmp_path):
    params, stats = build(SPECIFICATION).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    write_weights(tmp_path / "net.safetensors", params, stats, SPECIFICATION, about={"licence": "Ä", "a": "b"})
    found = read_weights(tmp_path / "net.safetensors")
    tree = nested(found.arrays)
    jax.tree.map(np.testing.assert_array_equal, tree, {"params": params, "stats": dict(stats)})
    assert found.format == "kdjax" and found.metadata["licence"] == "Ä" and set(found.metadata) == {"kdjax", "licence", "a"}
    x = jnp.ones((1, 4, 4, 1))
    again = build(json.loads(found.metadata["kdjax"])).apply(tree["params"], tree["stats"], x, train=False)[0]["logits"]
    np.testing.assert_array_equal(again, build(SPECIFICATION).apply(params, stats, x, train=False)[0]["logits"])
    assert found.sha256 == hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest()


def test_other_readers_and_every_dtype(tmp_path):
    rng = np.random.default_rng(0)
    kinds = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int8, np.uint8, np.bool_, np.complex64)
    params = {np.dtype(k).name: rng.normal(size=(3, 2)).astype(k) for k in kinds}
    params |= {"view": rng.normal(size=(4, 6))[::2, ::-1], "scalar": np.float32(3), "empty": np.zeros((0, 2), np.float32)}
    write_weights(tmp_path / "a", params, {}, {"name": "conv_net"})
    found = read_weights(tmp_path / "a").arrays
    assert set(found) == {f"params/{k}" for k in params}
    for name, x in params.items():
        assert found[f"params/{name}"].dtype == x.dtype and found[f"params/{name}"].shape == x.shape
        np.testing.assert_array_equal(found[f"params/{name}"], x)
    with safe_open(tmp_path / "a", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("params/view"), params["view"])
        assert file.metadata() == {"kdjax": '{"name": "conv_net"}'}
    content = (tmp_path / "a").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    for name, x in params.items():  # aligned, for readers that map the file
        assert (start + header[f"params/{name}"]["data_offsets"][0]) % x.dtype.itemsize == 0


def test_bytes_do_not_depend_on_the_order_and_no_half_file_is_left(tmp_path):
    a, b = {"x": np.ones(2), "y": np.zeros(3, np.float32)}, {"y": np.zeros(3, np.float32), "x": np.ones(2)}
    about = {str(i): str(i) for i in range(9)}
    write_weights(tmp_path / "a", a, {}, {"name": "n"}, about=about)
    write_weights(tmp_path / "b", b, {}, {"name": "n"}, about=dict(reversed(about.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(TypeError):
        write_weights(tmp_path / "a", a, {}, {"name": object()})
    with pytest.raises(IsADirectoryError):
        (tmp_path / "folder").mkdir()
        write_weights(tmp_path / "folder", a, {}, {"name": "n"})
    assert (tmp_path / "a").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "folder"]


def test_paths_and_back():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert by_path(tree) == {"a/b": 1, "a/c/d": 2, "e": 3} and nested(by_path(tree)) == tree


def test_formats_are_told_by_the_content(tmp_path):
    save_file({"conv1.weight": np.zeros((2, 3), np.float32)}, tmp_path / "net.pth")
    assert read_weights(tmp_path / "net.pth").format == "safetensors"
    (tmp_path / "net.safetensors").write_bytes((GOLDEN / "checkpoint_zip.pth").read_bytes())
    assert read_weights(tmp_path / "net.safetensors")[1:4] == (
        {}, hashlib.sha256((GOLDEN / "checkpoint_zip.pth").read_bytes()).hexdigest(), "pytorch",
    )  # fmt: skip
    assert read_weights(GOLDEN / "checkpoint_legacy.pth").format == "pytorch before 1.6"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "it is empty: expected safetensors, or what torch.save writes"),
        (b"\n <!DOCTYPE html><html>Not found</html>", "it is a web page, of a download that failed"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "it is a git-lfs pointer"),
        (b"\x1f\x8b\x08" + bytes(20), "it is a gzip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "it is an HDF5 file"),
        (b"hello world, this is text", "it starts with b'hello world,'"),
        ((10**12).to_bytes(8, "little") + b'{"a":1}', "damaged as a safetensors file"),
        ((7).to_bytes(8, "little") + b'{"a":1}', "damaged as a safetensors file"),
        (
            (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4]}}'.ljust(60) + bytes(4),
            "damaged",
        ),
        (
            LEGACY + b"".join(pickle.dumps(x, 2) for x in (1001, {"little_endian": True}, {"ep\noch\x1b": 1}, [])),
            "holds ep\\noch\\x1b:",
        ),
        (b"\x80\x02cos\nsystem\n.", "its pickle names 'os.system'"),
        (b"\x80\x02cos\nsys\ttem\x1b\n.", "its pickle names 'os.sys\\ttem\\x1b'"),
    ],
)
def test_what_holds_no_weights_is_one_line(content, line, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(InputError) as info:
        read_weights(tmp_path / "net.pth")
    said = str(info.value)
    assert said.startswith(f"{tmp_path / 'net.pth'} is refused: ") and line in said and said.isprintable()


def test_a_truncated_file_is_refused(tmp_path):
    write_weights(tmp_path / "a", {"x": np.ones(5)}, {}, {"name": "n"})
    content = (tmp_path / "a").read_bytes()
    for end in range(9, len(content), 11):
        (tmp_path / "cut").write_bytes(content[:end])
        with pytest.raises(InputError, match="damaged as a safetensors file"):
            read_weights(tmp_path / "cut")


def test_a_folder_and_nothing_are_refused(tmp_path):
    for path, line in ((tmp_path, "is a folder"), (tmp_path / "none", "is not there")):
        with pytest.raises(InputError, match=f"{path} {line}: expected a file of weights"):
            read_weights(path)
