import io
import os
import zipfile

import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data.load import load
from kdjax.data.npz import read_npz

GOOD = {
    "train_images": np.arange(6 * 2 * 3 * 3, dtype=np.uint8).reshape(6, 2, 3, 3),
    "train_labels": np.array([0, 1, 2, 0, 1, 2]),
    "test_images": np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3),
    "test_labels": np.array([2, 0]),
}


def write(path, **changes):
    file = path / "set.npz"
    np.savez(file, **{k: v for k, v in (GOOD | changes).items() if v is not None})
    return file


def refused(file, *words):
    with pytest.raises(InputError) as error:
        read_npz(str(file))
    line = str(error.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_round_trip(tmp_path, dtype):
    labels = {k: GOOD[k].astype(dtype) for k in ("train_labels", "test_labels")}
    arrays = read_npz(str(write(tmp_path, **labels, train_domains=np.zeros(6))))
    for key, value in GOOD.items():
        part, what = key.split("_")
        np.testing.assert_array_equal(arrays.parts[part][what.removesuffix("s")], value)
    assert arrays.train["label"].dtype == np.int32 and arrays.names == ("0", "1", "2")


def test_grey_gets_a_channel_and_compressed_files_are_read(tmp_path):
    file = tmp_path / "grey.npz"
    np.savez_compressed(file, **(GOOD | {k: GOOD[k][..., 0] for k in ("train_images", "test_images")}))
    arrays = read_npz(str(file))
    np.testing.assert_array_equal(arrays.train["image"], GOOD["train_images"][..., :1])
    assert arrays.test["image"].shape == (2, 2, 3, 1)


def test_images_without_labels(tmp_path):
    """None at all, test images without labels, and labels of test images only."""
    none = {"train_labels": None, "test_labels": None}
    alone = read_npz(str(write(tmp_path, **none, test_images=None)))
    assert alone.names == () and [len(x) for x in (alone.train["image"], alone.test["image"])] == [5, 1]
    assert set(alone.train["label"]) == set(alone.test["label"]) == {-1}
    both = np.concatenate([alone.train["image"], alone.test["image"]])
    assert {x.tobytes() for x in both} == {x.tobytes() for x in GOOD["train_images"]}
    plain = read_npz(str(write(tmp_path, **none)))
    np.testing.assert_array_equal(plain.test["image"], GOOD["test_images"])
    assert plain.train["label"].tolist() == [-1] * 6 and plain.test["label"].tolist() == [-1] * 2
    mixed = read_npz(str(write(tmp_path, train_labels=None, test_labels=np.array([1, 0]))))
    assert mixed.names == ("0", "1") and mixed.train["label"].tolist() == [-1] * 6 and mixed.test["label"].tolist() == [1, 0]
    refused(write(tmp_path, train_labels=None, test_images=None), "'test_images' is missing")


def test_home_directory(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_npz("~/set.npz").train["image"]) == 6


def test_classes_may_be_missing_in_between(tmp_path):
    assert len(read_npz(str(write(tmp_path, train_labels=np.array([0, 5, 0, 5, 5, 0])))).names) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_labels": None, "train_label": np.zeros(6, int)}, ("'train_labels'", "missing", "holds: train_label,")),
        ({"train_images": GOOD["train_images"] / 255}, ("train_images is float64", "expected uint8", "255 * x")),
        ({"test_images": GOOD["test_images"].astype(int)}, ("test_images is int64", "expected uint8")),
        ({"train_images": np.zeros((6, 4), np.uint8)}, ("train_images", "(6, 4)", "[N, H, W]")),
        ({"train_images": np.zeros((6, 3, 32, 32), np.uint8)}, ("train_images", "(6, 3, 32, 32)", "channels last")),
        ({"test_images": np.zeros((0, 2, 3, 3), np.uint8)}, ("test_images", "(0, 2, 3, 3)", "1 image or more")),
        ({"test_images": np.zeros((2, 4, 3, 3), np.uint8)}, ("test_images hold 4x3x3", "train_images 2x3x3")),
        ({"train_labels": np.zeros(6)}, ("train_labels is float64", "integers")),
        ({"train_labels": np.zeros(6, bool)}, ("train_labels is bool", "integers")),
        ({"train_labels": np.zeros((6, 1), int)}, ("train_labels", "(6, 1)", "[N]")),
        ({"train_labels": np.zeros(5, int)}, ("train_labels has 5", "train_images 6")),
        ({"test_labels": np.zeros(3, int)}, ("test_labels has 3", "test_images 2")),
        ({"train_labels": np.array([0, 1, 2, -1, 1, 2])}, ("train_labels hold -1", "from 0")),
        ({"train_labels": np.array([1, 1, 2, 1, 1, 2])}, ("train_labels start at 1", "from 0")),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 2**40])}, ("train_labels hold 1099511627776", "2^31")),
        ({"test_labels": np.array([3, 0])}, ("test_labels hold 3", "0 to 2")),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 255])}, ("256 classes", "6 training images", "no more classes than")),
        ({"train_labels": np.array([0, 1, 2, 0, 1, 2**30])}, ("1,073,741,825 classes", "6 training images")),
        ({"val_images": GOOD["test_images"]}, ("'val_labels'", "missing")),
        ({"val_images": GOOD["train_images"][:, :1], "val_labels": GOOD["train_labels"]}, ("val_images hold 1x3x3", "2x3x3")),
        ({"val_images": GOOD["test_images"], "val_labels": np.array([0, 3])}, ("val_labels hold 3", "0 to 2")),
        ({"train_labels": np.array([0, 1, 2, 0, 1, None])}, ("'train_labels'", "pickled objects")),
    ],
)
def test_refused_content(tmp_path, changes, words):
    file = write(tmp_path, **changes)
    refused(file, str(file), *words)


def test_refused_files(tmp_path, monkeypatch):
    refused("", "no file is named")
    refused(tmp_path / "none.npz", "none.npz", "no such file")
    refused(tmp_path, "is a directory", "folder:<dir>")
    np.save(tmp_path / "one.npy", np.zeros(3))
    refused(tmp_path / "one.npy", "one.npy", "is no npz file")
    file = write(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(file, "set.npz", "is damaged")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("kdjax.data.npz.open_plain", denied)
    refused(file, "set.npz", "no permission")


def test_validation_images_of_its_own(tmp_path):
    file = write(tmp_path, val_images=GOOD["train_images"][:3], val_labels=np.array([1, 1, 0]))
    arrays = read_npz(str(file))
    np.testing.assert_array_equal(arrays.val["image"], GOOD["train_images"][:3])
    assert arrays.val["label"].tolist() == [1, 1, 0] and arrays.val["label"].dtype == np.int32


def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz", "pipe.npz: cannot be read (a named pipe and no file)")


def forged(path, key, shape, data=b"", **more):
    """A good file whose `key` declares a shape that its bytes do not have."""
    file = write(path, **{key: None})
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape, **more}
    np.lib.format.write_array_header_1_0(header, about)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{key}.npy", header.getvalue() + data)
    return file


def test_what_is_declared_is_checked_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("kdjax.data.npz._read", None)
    refused(
        forged(tmp_path, "train_images", (6, 2, 3, 3), bytes(99)), "'train_images' is damaged (it declares 108 bytes and has 99)"
    )
    refused(
        forged(tmp_path, "train_images", (6, 2, 3, 2**60)),
        "'train_images' is damaged (it declares 41505174165846491136 bytes and has 0)",
    )
    refused(forged(tmp_path, "train_labels", (6,), bytes(9 * 6), descr="<M8[s]"), "train_labels is datetime64")
    refused(forged(tmp_path, "train_labels", (-6,), bytes(9 * 6), descr="<i8"), "train_labels has -6 entries, train_images 6")


def test_a_bomb_is_refused_by_what_it_would_take(tmp_path, monkeypatch):
    """Small on disk, large in memory: the sizes are read, and nothing else."""
    monkeypatch.setattr("kdjax.data.npz._read", None)
    monkeypatch.setattr("kdjax.core.memory.memory_available", lambda: 2**20)
    images = np.zeros((1 << 15, 8, 8), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", **(GOOD | {"train_images": images, "train_labels": np.zeros(1 << 15, int)}
                                                  | {"test_images": images[:2]}))  # fmt: skip
    assert (tmp_path / "bomb.npz").stat().st_size < 2**17
    refused(tmp_path / "bomb.npz", "bomb.npz: its arrays would take 2.3 MiB of memory, 1.0 MiB are free here", "folder:<dir>")


def test_refuses_damage_in_a_compressed_array(tmp_path):
    file = tmp_path / "set.npz"
    np.savez_compressed(file, **GOOD)
    whole = file.read_bytes()
    for at in range(whole.index(b"train_images.npy") + 16, whole.index(b"train_labels.npy") - 30):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            images = read_npz(str(file)).train["image"]
        except InputError as error:
            assert "'train_images'" in str(error) or "is damaged" in str(error)
        else:
            np.testing.assert_array_equal(images, GOOD["train_images"])


def test_refuses_a_flipped_byte_and_a_foreign_member(tmp_path):
    file = write(tmp_path)
    flipped = bytearray(file.read_bytes())
    at = flipped.index(GOOD["train_images"].tobytes())
    flipped[at] ^= 1
    file.write_bytes(flipped)
    refused(file, "'train_images'", "is damaged")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train_images", b"text")
    refused(file, "'train_images' is not an array")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train_images.npy", io.BytesIO(b"text").getvalue())
    refused(file, "'train_images'")
    with zipfile.ZipFile(file, "w"):
        pass
    refused(file, "the file holds: nothing")


def test_further_columns(tmp_path):
    """Numbers with as many rows as their part; what is no column is left alone."""
    masks, boxes = np.arange(36).reshape(6, 2, 3), np.ones((6, 4))
    more = {"train_mask": masks, "test_mask": masks[:2], "train_box": boxes, "test_box": boxes[:2], "train_seen": masks > 3}
    others = {"train_mean": np.zeros(3), "train_names": np.array(list("abcdef")), "about": np.zeros(6), "train_index": masks}
    arrays = read_npz(str(write(tmp_path, **more, **others)))
    assert set(arrays.train) == {"image", "label", "mask", "box", "seen"} and set(arrays.test) == {"image", "label", "mask", "box"}
    np.testing.assert_array_equal(arrays.train["mask"], masks)
    assert [arrays.train[name].dtype.name for name in ("mask", "box", "seen")] == ["int32", "float32", "bool"]
    refused(write(tmp_path, **(more | {"test_mask": masks[:2, :1]})), "test_mask", "(2, 1, 3)", "train_mask", "(6, 2, 3)")


def test_labels_of_pixels_and_sets_of_tokens(tmp_path):
    dense = np.arange(36).reshape(6, 2, 3) % 4 - 1
    arrays = read_npz(str(write(tmp_path, train_labels=dense, test_labels=dense[:2])))
    np.testing.assert_array_equal(arrays.train["label"], dense)
    assert arrays.names == ("0", "1", "2")
    refused(write(tmp_path, train_labels=dense[:, :1], test_labels=dense[:2]), "train_labels", "(6, 1, 3)", "[N, H, W]")
    tokens = {
        f"{part}_{name}": np.arange(n * 5).reshape(n, 5) for part, n in (("train", 4), ("test", 2)) for name in ("tokens", "labels")
    }
    np.savez(tmp_path / "tokens.npz", **tokens)
    arrays = read_npz(str(tmp_path / "tokens.npz"))
    assert set(arrays.train) == {"tokens", "label"} and arrays.test["tokens"].shape == (2, 5) and len(arrays.names) == 20
    np.savez(tmp_path / "tokens.npz", train_tokens=tokens["train_tokens"])  # without labels: a fifth of them is cut off
    arrays = read_npz(str(tmp_path / "tokens.npz"))
    assert [len(x["tokens"]) for x in (arrays.train, arrays.test)] == [3, 1] and arrays.train["label"].tolist() == [-1] * 3


def test_a_file_of_test_images_alone_has_no_training_rows(tmp_path):
    images, labels = np.zeros((6, 2, 2), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "a.npz", test_images=images, test_labels=labels)
    found = load(f"npz:{tmp_path / 'a.npz'}")
    assert (found.train.size, found.test.size, found.classes, found.shape) == (0, 6, 3, (2, 2, 1))
    np.savez(tmp_path / "b.npz", test_images=images, test_labels=labels, train_image=images)  # a word that is misspelt
    with pytest.raises(InputError, match="'train_images' is missing"):
        load(f"npz:{tmp_path / 'b.npz'}")
