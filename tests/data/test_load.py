import numpy as np
import pytest
from PIL import Image

from kdjax.core.check import InputError
from kdjax.data.load import load
from kdjax.data.sampler import VAL_SPLIT
from kdjax.data.split import stratified


def rows(source):
    return source.read(np.arange(source.size))


def npz(path, **changes):
    images = np.arange(8 * 4 * 4, dtype=np.uint8).reshape(8, 4, 4)
    labels = np.array([0, 1] * 4)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:2], "test_labels": labels[:2]}
    np.savez(path / "tiny.npz", **(arrays | changes))
    return f"npz:{path / 'tiny.npz'}"


def test_digits():
    data = load("digits")
    assert (data.train.size, data.val, data.test.size) == (1347, None, 450)
    assert (data.classes, data.shape, data.names) == (10, (8, 8, 1), tuple("0123456789"))
    assert rows(data.train)["index"].tolist() == list(range(1347))
    assert len(data.digest) == 64 and data.digest == load("digits", val_fraction=0.5, seed=3).digest


def test_validation_is_cut_from_train():
    whole, data, other = (
        load("digits"),
        load("digits", val_fraction=0.2, seed=1),
        load("digits", val_fraction=0.2, seed=2),
    )
    everything, train, val = rows(whole.train), rows(data.train), rows(data.val)
    np.testing.assert_array_equal(np.sort(np.concatenate([train["index"], val["index"]])), np.arange(1347))
    assert (np.diff(train["index"]) > 0).all()
    for part in (train, val):
        for key in ("image", "label"):
            np.testing.assert_array_equal(part[key], everything[key][part["index"]])
    assert (abs(np.bincount(val["label"]) - 0.2 * np.bincount(everything["label"])) <= 0.5).all()
    np.testing.assert_array_equal(rows(data.test)["image"], rows(whole.test)["image"])
    np.testing.assert_array_equal(val["index"], stratified(everything["label"], 0.2, seed=1, stream=VAL_SPLIT)[1])
    assert not np.array_equal(val["index"], rows(other.val)["index"])


def test_npz(tmp_path):
    data = load(npz(tmp_path), val_fraction=0.25)
    assert (data.train.size, data.val.size, data.test.size, data.classes, data.shape) == (6, 2, 2, 2, (4, 4, 1))


def test_folder(tmp_path):
    for i in range(10):
        Image.new("RGB", (6, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    data = load(f"folder:{tmp_path}", val_fraction=0.25, image_size=3)
    assert (data.train.size, data.val.size, data.test.size, data.classes, data.shape) == (6, 2, 2, 0, (3, 3, 3))
    assert rows(data.val)["label"].tolist() == [-1, -1]


@pytest.mark.parametrize("size", [3, 8, 12])
def test_image_size_of_every_kind(tmp_path, size):
    for source in ("digits", npz(tmp_path)):
        data = load(source, image_size=size)
        assert data.shape == (size, size, 1) and data.test.read(np.array([0]))["image"].shape == (1, size, size, 1)
        if size != 8:
            assert data.digest != load(source).digest


@pytest.mark.parametrize(
    ("source", "options", "line"),
    [
        ("digit", {}, "'digit' is not known; accepted: digits, folder:<dir>, npz:<path>"),
        ("npy:x", {}, "'npy:x' is not known; accepted: npz:<path>"),
        ("", {}, "'' is not known; accepted: digits"),
        ("digits:8", {}, "'digits:8' is not known"),
        ("digits", {"val_fraction": 1.0}, "val_fraction=1.0 .* below 1"),
        ("digits", {"val_fraction": -0.1}, "val_fraction=-0.1"),
        ("digits", {"val_fraction": float("nan")}, "val_fraction=nan"),
        ("digits", {"val_fraction": 0.1, "seed": -1}, "seed=-1"),
        ("digits", {"image_size": 0}, "image_size=0"),
        ("digits", {"image_size": 8.5}, "image_size=8.5"),
        ("npz:/none.npz", {}, "/none.npz: no such file"),
        ("folder:/none", {}, "/none: no such directory"),
    ],
)
def test_refusals(source, options, line):
    with pytest.raises(InputError, match=line) as error:
        load(source, **options)
    assert "\n" not in str(error.value)


def test_refuses_a_class_too_small_to_split(tmp_path):
    source = npz(tmp_path, train_labels=np.array([0, 0, 0, 0, 0, 0, 0, 1]))
    assert load(source).train.size == 8
    with pytest.raises(InputError, match=r"tiny.npz', val_fraction=0.1: class '1' has 1 example"):
        load(source, val_fraction=0.1)
