import json
import pickle

import jax
import ml_dtypes
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.train.teacher_cache import store
from kdjax.train.teacher_cache.store import append, begin, disk_bytes, open_store, read_manifest

RNG = np.random.default_rng(0)
ROWS = {
    "logits": RNG.normal(size=(2, 20, 3)).astype(np.float32),
    "half": RNG.normal(size=(2, 20, 2, 2)).astype(ml_dtypes.bfloat16),
    "zeros": np.zeros((2, 20), np.uint16),
}
SHAPES = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in ROWS.items()}


@pytest.fixture(autouse=True)
def eight_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(store, "BLOCK_BYTES", 8 * 2 * (12 + 8 + 2))
    monkeypatch.setattr(store, "READ_BYTES", 24)


def written(folder, blocks=3):
    manifest = begin(folder, {"a": 1}, SHAPES)
    for _ in range(blocks):
        start = manifest.done
        manifest = append(folder, manifest, {name: x[:, start : start + 8] for name, x in ROWS.items()})
    return manifest


def test_rows_come_back(tmp_path):
    manifest = written(tmp_path / "x")
    assert (manifest.rows, manifest.done, manifest.block) == (20, 20, 8) and manifest.whole
    assert read_manifest(tmp_path / "x") == manifest
    found = open_store(tmp_path / "x", manifest)
    assert found.row_bytes == 12 + 8 + 2
    for name, x in found.everything().items():
        assert x.dtype == ROWS[name].dtype
        np.testing.assert_array_equal(x, ROWS[name])
    rows, views = np.array([[3, 19, 3], [0, 8, 7]]), np.array([[1], [0]])
    for one in (found, pickle.loads(pickle.dumps(found))):  # as another process gets it
        for name, x in one.read(views, rows).items():
            np.testing.assert_array_equal(x, np.stack([ROWS[name][1][rows[0]], ROWS[name][0][rows[1]]]))
    pieces = json.loads((tmp_path / "x" / "00" / "zarr.json").read_text())["codecs"][0]["configuration"]["chunk_shape"]
    assert pieces == [1, 2, 3]  # one row is not read with all of its block
    assert disk_bytes(tmp_path / "x") > sum(x.nbytes for x in ROWS.values())


def test_few_rows_take_no_more_room_than_they_need(tmp_path):
    begin(tmp_path, {}, {"logits": jax.ShapeDtypeStruct((1, 5, 2), np.dtype("float32"))})
    assert read_manifest(tmp_path).block == 8


def test_what_is_begun_goes_on(tmp_path):
    manifest = written(tmp_path, blocks=1)
    assert not manifest.whole and read_manifest(tmp_path) == manifest
    for start in (8, 16):
        manifest = append(tmp_path, manifest, {name: x[:, start : start + 8] for name, x in ROWS.items()})
    np.testing.assert_array_equal(open_store(tmp_path, manifest).everything()["logits"], ROWS["logits"])


def test_nothing_there_and_something_else_there(tmp_path):
    assert read_manifest(tmp_path) is None and read_manifest(tmp_path / "new") is None
    (tmp_path / ".lock").touch()
    assert read_manifest(tmp_path) is None
    (tmp_path / "photo.png").touch()
    with pytest.raises(InputError, match=r"holds 'photo.png' and no teacher outputs"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="is a file: expected a folder of teacher outputs"):
        read_manifest(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"rows"', '"row"', "manifest.json is damaged: remove its folder"),
        ("{", "", "manifest.json is damaged: remove its folder"),
        ("outputs, 1", "outputs, 0", "is of the format 'kdjax teacher outputs, 0': expected"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, old, new, line):
    written(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=line):
        read_manifest(tmp_path)


def a_file(folder, name):
    return next(p for p in sorted((folder / name / "c").rglob("*")) if p.is_file())


def flip(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["00", "02"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_or_missing_piece_is_refused(tmp_path, name, damage):
    manifest = written(tmp_path)
    damage(a_file(tmp_path, name))
    found = open_store(tmp_path, manifest)
    for read in (found.everything, lambda: found.read(np.array(0), np.arange(4))):
        with pytest.raises(InputError, match=r"teacher outputs in .* are damaged: .*; remove that folder") as info:
            read()
        assert "\n" not in str(info.value)


def test_an_array_of_another_shape_is_refused(tmp_path):
    manifest = written(tmp_path)
    other = manifest._replace(arrays={"logits": {**manifest.arrays["logits"], "shape": [2, 21, 3]}})
    with pytest.raises(InputError, match="are damaged: logits"):
        open_store(tmp_path, other)
    (tmp_path / "00" / "zarr.json").unlink()
    with pytest.raises(InputError, match="are damaged: logits"):
        open_store(tmp_path, manifest)
