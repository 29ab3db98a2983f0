import re
import sys

import numpy as np
import pytest
from made import encoded, pixels
from PIL import Image

from kdjax.core.check import InputError
from kdjax.data import Damaged, read_undamaged
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


def test_further_columns_pass_through_splits_and_count_in_the_digest(tmp_path):
    masks = np.arange(8 * 4).reshape(8, 4)
    for reader in ("resident", "streaming"):
        data = load(npz(tmp_path, train_mask=masks, test_mask=masks[:2]), val_fraction=0.25, reader=reader)
        for part in (data.train, data.val):
            np.testing.assert_array_equal(rows(part)["mask"], masks[rows(part)["index"]])
        digests = {data.digest}
        for changes in ({}, {"train_mask": masks + 1, "test_mask": masks[:2]}, {"train_box": masks, "test_box": masks[:2]}):
            digests.add(load(npz(tmp_path, **changes), reader=reader).digest)
        assert len(digests) == 4


def test_a_set_of_tokens(tmp_path):
    tokens = np.arange(40).reshape(8, 5)
    np.savez(tmp_path / "a.npz", train_tokens=tokens, train_labels=tokens % 7, test_tokens=tokens[:2], test_labels=tokens[:2] % 7)
    data = load(f"npz:{tmp_path / 'a.npz'}", val_fraction=0.25)
    assert (data.train.size, data.val.size, data.shape, data.classes, data.labelled) == (6, 2, (5,), 7, True)
    np.testing.assert_array_equal(rows(data.val)["label"], tokens[rows(data.val)["index"]] % 7)
    with pytest.raises(InputError, match=r"^image_size=8 is not accepted: its rows are no images; expected a set"):
        load(f"npz:{tmp_path / 'a.npz'}", image_size=8)


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
        (
            "digit",
            {},
            r"'digit' is not known; accepted: digits, array_record:<dir>, docstrings\[:packages\], folder:<dir>, none:<height>x",
        ),
        ("npy:x", {}, "'npy:x' is not known; accepted: npz:<path>"),
        ("", {}, "'' is not known; accepted: array_record:<dir>, digits"),
        ("digits:8", {}, "'digits:8' is not known"),
        ("digits", {"val_fraction": 1.0}, "val_fraction=1.0 .* below 1"),
        ("digits", {"val_fraction": -0.1}, "val_fraction=-0.1"),
        ("digits", {"val_fraction": float("nan")}, "val_fraction=nan"),
        ("digits", {"val_fraction": 0.1, "seed": -1}, "seed=-1"),
        ("digits", {"image_size": 0}, "image_size=0"),
        ("digits", {"image_size": 8.5}, "image_size=8.5"),
        ("digits", {"reader": "lazy"}, "reader='lazy' is not accepted: expected one of auto, resident, streaming"),
        ("digits", {"corrupt": "ignore"}, "corrupt='ignore' is not accepted: expected one of stop, skip"),
        (
            "digits",
            {"exif_orientation": True},
            "'digits': exif_orientation=True is not accepted: .* accepted with folder:<dir>, tfds:",
        ),
        (
            "npz:x.npz",
            {"exif_orientation": True},
            "'npz:x.npz': exif_orientation=True is not accepted: its images have no such tag",
        ),
        ("digits", {"exif_orientation": "yes"}, "exif_orientation='yes' is not accepted: expected True or False"),
        ("digits", {"workers": -1}, "workers=-1 is not accepted"),
        ("digits", {"workers": "two"}, "workers='two' is not accepted"),
        ("tfds:mnist", {"directory": "/none"}, "tfds: folder /none is not there"),
        ("array_record:/none", {}, "/none: no such directory"),
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


def same(a, b):
    assert (a is None) == (b is None)
    if a is not None:
        for key, value in rows(a).items():
            np.testing.assert_array_equal(value, rows(b)[key])
        np.testing.assert_array_equal(a.labels(), b.labels())
        np.testing.assert_array_equal(a.labels(), rows(a)["label"])


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_streaming_and_resident_are_the_same(tmp_path, size, fraction):
    for i in range(10):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("L", (6, 6), i).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    for source in ("digits", npz(tmp_path), f"folder:{tmp_path}"):
        options = {"image_size": size, "val_fraction": fraction, "seed": 1}
        lazy, whole, auto = (load(source, reader=reader, **options) for reader in ("streaming", "resident", "auto"))
        assert (lazy.resident, whole.resident, auto.resident) == (False, True, True) and auto.digest == whole.digest
        for part in ("train", "val", "test"):
            same(getattr(lazy, part), getattr(whole, part))
        assert (lazy.classes, lazy.shape, lazy.names) == (whole.classes, whole.shape, whole.names)
        assert (lazy.digest == whole.digest) == (size is None and not source.startswith("folder"))


def test_auto_streams_what_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["kdjax.data.load"], "RESIDENT", 1797 * 64)  # the package holds a function of that name
    small, large, larger = (load("digits", image_size=size) for size in (8, 9, 10))
    assert (small.resident, large.resident, larger.resident) == (True, False, False)
    assert len({small.digest, large.digest, larger.digest}) == 3


def test_digests_are_pinned(tmp_path):
    # They are in the records of runs: a finished run of another version is compared by them.
    assert load("digits").digest.startswith("2b377efd1bedcc39")
    assert load("digits", image_size=12).digest.startswith("d7d68f60c753fd7e")


@pytest.fixture
def broken(tmp_path):
    """A folder of 300 images, of which two cannot be decoded: one has no header, one is cut short."""
    for i in range(300):
        folder = tmp_path / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{i:03d}.png").write_bytes(encoded(pixels(1, size=16, seed=i)[0]))
    (tmp_path / "a" / "100.png").write_bytes(b"words")
    (tmp_path / "b" / "207.png").write_bytes((tmp_path / "b" / "207.png").read_bytes()[:-100])
    return tmp_path


@pytest.mark.parametrize("name", ["a/100.png", "b/207.png"])
def test_one_corrupt_file_among_many_is_named(broken, name):
    (broken / ({"a/100.png", "b/207.png"} - {name}).pop()).unlink()
    line = f"image {broken / name}: cannot be decoded, the file is damaged or no image; --config.data.corrupt=skip takes the next"
    with pytest.raises(Damaged, match=re.escape(line)):
        load(f"folder:{broken}")
    with pytest.raises(Damaged, match=re.escape(line)):  # streaming, at once or when it is read
        data = load(f"folder:{broken}", reader="streaming")
        rows(data.train), rows(data.test)


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_corrupt_files_are_stepped_over(broken, fraction):
    options = {"corrupt": "skip", "val_fraction": fraction}
    lazy, whole = (load(f"folder:{broken}", reader=reader, **options) for reader in ("streaming", "resident"))
    assert lazy.damaged == () and whole.train.size == lazy.train.size
    assert [line.partition(":")[0].rpartition("/")[2] for line in sorted(whole.damaged)] == ["100.png", "207.png"]
    lines = []
    for part in ("train", "val", "test"):
        a, b = getattr(lazy, part), getattr(whole, part)
        if a is not None:
            sound, found = read_undamaged(a, np.arange(a.size), skip=True)
            lines += found
            for key, value in sound.items():
                np.testing.assert_array_equal(value, rows(b)[key])
            np.testing.assert_array_equal(b.labels(), rows(b)["label"])
    assert sorted(lines) == sorted(whole.damaged)


def test_colour_beyond_the_first_headers_is_found_by_the_resident_reader(tmp_path, monkeypatch):
    for i in range(20):
        Image.new("RGB" if i == 7 else "L", (4, 4), i).save(tmp_path / f"{i:02d}.png")
    monkeypatch.setattr(sys.modules["kdjax.data.load"], "HEADERS", 3)
    assert load(f"folder:{tmp_path}", reader="streaming").shape == (4, 4, 1)
    assert load(f"folder:{tmp_path}").shape == (4, 4, 3)


def test_validation_images_of_its_own_are_used(tmp_path):
    """With them nothing is cut from the training images, by either reader."""
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    source = npz(tmp_path, val_images=images, val_labels=np.array([1, 1, 0]))
    for size in (None, 5):
        lazy, whole = (load(source, val_fraction=0.5, image_size=size, reader=reader) for reader in ("streaming", "resident"))
        assert whole.own_val and lazy.own_val and (whole.train.size, whole.val.size) == (8, 3)
        assert rows(whole.val)["label"].tolist() == [1, 1, 0]
        for part in ("train", "val", "test"):
            same(getattr(lazy, part), getattr(whole, part))
    assert load(source).val.size == 3 and load(source).digest != load(npz(tmp_path)).digest
    assert not load(npz(tmp_path), val_fraction=0.5).own_val


def test_classes_without_a_training_image_are_noted(tmp_path):
    source = npz(tmp_path, train_labels=np.array([0, 1, 3] * 2 + [5, 5]), test_labels=np.array([2, 0]))
    for reader in ("streaming", "resident"):
        data = load(source, reader=reader)
        assert data.notes == ("classes without a training image: 2 of 6 (2, 4)",) and data.classes == 6
    assert load("digits", val_fraction=0.1).notes == ()


def test_what_does_not_fit_into_memory_is_refused_first(tmp_path, monkeypatch):
    """By what it would take; one image, or all of a resident set."""
    monkeypatch.setattr("kdjax.core.memory.memory_available", lambda: 2**24)
    for i in range(10):
        Image.new("RGB", (6, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    for source, takes in ((f"folder:{tmp_path}", "83 GiB"), ("digits", "27 GiB"), (npz(tmp_path), "27 GiB")):
        line = f"^image_size=100000: one image would take {takes} of memory, 16 MiB are free here: expected a smaller side"
        with pytest.raises(InputError, match=line):
            load(source, image_size=100_000)
    assert load(f"folder:{tmp_path}", image_size=1000, reader="streaming").shape == (1000, 1000, 3)
    line = r"^data source 'folder:.*': 10 images of 1000x1000x3 would take 28 MiB .*: expected --config.data.reader=streaming"
    with pytest.raises(InputError, match=line):
        load(f"folder:{tmp_path}", image_size=1000, reader="resident")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_are_turned_by_their_exif_orientation_where_that_is_asked_for(tmp_path, kind):
    for i, image in enumerate(pixels(20)):
        file = tmp_path / "ab"[i % 2] / f"{i}.{kind.lower()}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encoded(image[:6], kind, orientation=(6, 8)[i % 2]))
    found = {}
    for on in (False, True):
        lazy, whole = (load(f"folder:{tmp_path}", reader=reader, exif_orientation=on) for reader in ("streaming", "resident"))
        assert lazy.shape == whole.shape == ((8, 6, 1) if on else (6, 8, 1))
        assert lazy.exif_orientation == whole.exif_orientation == on
        same(lazy.train, whole.train)
        found[on] = lazy, whole
    square = [load(f"folder:{tmp_path}", reader="streaming", image_size=4, exif_orientation=on) for on in (False, True)]
    assert square[0].shape == square[1].shape and square[0].digest != square[1].digest
    for plain, turned in zip(*found.values(), strict=True):
        assert plain.digest != turned.digest
        a, b = rows(plain.train), rows(turned.train)
        for before, after, label in zip(a["image"], b["image"], a["label"], strict=True):
            np.testing.assert_array_equal(after, np.rot90(before, (-1, 1)[label]))


def test_a_set_without_a_row_has_a_shape_and_classes():
    found = load("none:4x6x3:7")
    assert (found.train.size, found.test.size, found.shape, found.classes) == (0, 0, (4, 6, 3), 7)
    assert found.notes == ("there are no images: nothing is measured on real ones",) and found.digest != load("none:4x6x3:8").digest
    for wrong in ("none", "none:4x6:7", "none:4x6x0:7", "none:4x6x3", "none:4x6x3:1", "none:4x6x3:seven"):
        with pytest.raises(
            InputError, match=r"is not accepted: expected none:<height>x<width>x<channels>:<classes>, as none:32x32"
        ):
            load(wrong)
