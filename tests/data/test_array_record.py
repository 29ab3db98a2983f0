"""Reading what launch/pack.py writes; tests/launch/test_pack.py tests the writing."""

import itertools
import json
import math
import os
import shutil

import cloudpickle
import numpy as np
import pytest
from made import encoded, pixels, write_shard

from kdjax.core.check import InputError
from kdjax.data import Damaged, load, read_undamaged
from kdjax.data.array_record import FORMAT, Contents, open_packed, sha256
from kdjax.data.resize import resize_crop

IMAGES, LABELS = pixels(7, size=6), np.arange(7, dtype=np.int32) % 3


def entry(file, rows):
    return {"file": file.name, "rows": rows, "bytes": file.stat().st_size, "sha256": sha256(file)}


def write(folder, records=None, encoding="raw", shape=(6, 6, 1), **origin):
    """A packed set: all images to train, in two files, and the first three to test."""
    folder.mkdir()
    records = records or [image.tobytes() for image in IMAGES]
    splits = {}
    for split, n, ends in (("train", 7, (0, 4, 7)), ("test", 3, (0, 3))):
        np.save(folder / f"{split}-labels.npy", LABELS[:n])
        shards = []
        for k, (a, b) in enumerate(itertools.pairwise(ends)):
            write_shard(folder / f"{split}-{k:05d}.array_record", records[a:b])
            shards.append(entry(folder / f"{split}-{k:05d}.array_record", b - a))
        splits[split] = {"rows": n, "labels": entry(folder / f"{split}-labels.npy", n), "shards": shards}
    contents = Contents(FORMAT, ["a", "b", "c"], list(shape), encoding, splits, {"source": "digits", **origin}, [])
    (folder / "dataset.json").write_text(json.dumps(contents._asdict()))
    return folder


@pytest.fixture
def held(tmp_path):
    return write(tmp_path / "held")


@pytest.fixture
def unhashed(monkeypatch):
    """Sets are too large for their sha256 to be compared."""
    monkeypatch.setattr("kdjax.data.array_record.SMALL", 0)


def refused(folder, *words, **options):
    with pytest.raises(InputError) as error:
        open_packed(str(folder), **options)
    line = str(error.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def test_raw(held):
    opened = open_packed(str(held))
    assert (opened.shape, opened.names, opened.train.size, opened.test.size) == ((6, 6, 1), ("a", "b", "c"), 7, 3)
    batch = opened.train.read(np.array([6, 0, 4, 0]))
    np.testing.assert_array_equal(batch["image"], IMAGES[[6, 0, 4, 0]])
    assert batch["label"].tolist() == LABELS[[6, 0, 4, 0]].tolist() and batch["index"].tolist() == [6, 0, 4, 0]
    assert {k: v.dtype for k, v in batch.items()} == {"image": np.uint8, "label": np.int32, "index": np.int32}
    np.testing.assert_array_equal(opened.train.labels(), LABELS)
    assert opened.train.read(np.arange(0))["image"].shape == (0, 6, 6, 1)
    again = cloudpickle.loads(cloudpickle.dumps(opened.train.read))
    np.testing.assert_array_equal(again(np.array([5]))["image"], IMAGES[[5]])


def test_image_files(tmp_path):
    opened = open_packed(str(write(tmp_path / "png", [encoded(image) for image in IMAGES], "png")))
    np.testing.assert_array_equal(opened.train.read(np.arange(7))["image"], IMAGES)


def test_resized(held):
    opened = open_packed(str(held), 4)
    assert opened.shape == (4, 4, 1)
    np.testing.assert_array_equal(opened.test.read(np.array([2]))["image"][0], resize_crop(IMAGES[2], 4))
    assert open_packed(str(held), 6).digest() == open_packed(str(held)).digest() != opened.digest()


def test_streaming_and_resident_are_the_same(held):
    lazy, whole = (load(f"array_record:{held}", val_fraction=0.3, reader=reader) for reader in ("streaming", "resident"))
    for part in ("train", "val", "test"):
        a, b = getattr(lazy, part), getattr(whole, part)
        for key, value in a.read(np.arange(a.size)).items():
            np.testing.assert_array_equal(value, b.read(np.arange(b.size))[key])
    assert lazy.digest == load(f"array_record:{held}", reader="streaming").digest


def test_validation_images_of_its_own(held):
    contents = json.loads((held / "dataset.json").read_text())
    digest = open_packed(str(held)).digest()
    change(held, splits=contents["splits"] | {"val": contents["splits"]["test"]})
    opened = open_packed(str(held))
    assert opened.val.size == 3 and opened.digest() != digest and list(opened.parts) == ["train", "test", "val"]
    data = load(f"array_record:{held}", val_fraction=0.3)
    assert data.own_val and (data.train.size, data.val.size) == (7, 3)


def change(folder, **changes):
    held = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(held | changes))


def test_refused_places(held, tmp_path):
    refused("", "array_record: no directory is named; expected array_record:<dir>")
    refused(tmp_path / "none", "none: no such directory; expected a folder that launch/pack.py wrote")
    refused(held / "dataset.json", "dataset.json: is a file; expected a folder")
    (tmp_path / "tfds" / "1.0.0").mkdir(parents=True)
    refused(tmp_path / "tfds", "holds no dataset.json; expected a folder that launch/pack.py wrote")
    (tmp_path / "tfds" / "1.0.0" / "dataset_info.json").write_text("{}")
    refused(tmp_path / "tfds", "holds no dataset.json", "tfds:<name> reads a set of TFDS")


def test_refused_contents(held, tmp_path):
    whole = json.loads((held / "dataset.json").read_text())
    train = whole["splits"]["train"]
    wrong = {
        "rows": {"splits": whole["splits"] | {"train": train | {"rows": 8}}},
        "shards": {"splits": whole["splits"] | {"train": train | {"shards": train["shards"][:1]}}},
        "away": {"splits": whole["splits"] | {"test": train | {"labels": train["labels"] | {"file": "../x.npy"}}}},
        "splits": {"splits": {"train": train}},
        "shape": {"shape": [6, 6]},
        "parts": {"shape": [6, 6, 0.5]},
        "part": {"splits": whole["splits"] | {"train": train | {"rows": 7.0, "labels": train["labels"] | {"rows": 7.0}}}},
        "val": {"splits": whole["splits"] | {"val": {}}},
        "numbers": {"names": [1, 2, 3]},
        "nul": {"splits": whole["splits"] | {"train": train | {"labels": train["labels"] | {"file": "a\0"}}}},
        "encoding": {"encoding": "webp"},
        "names": {"nmaes": []},
    }
    for name, changes in wrong.items():
        folder = shutil.copytree(held, tmp_path / name)
        change(folder, **changes)
        refused(folder, f"{name}: dataset.json is damaged")
    good = (held / "dataset.json").read_bytes()
    for name, text in (("cut", good[:99]), ("list", b"[]"), ("deep", b"[" * 100_000), ("bytes", b"\xff" + good)):
        folder = shutil.copytree(held, tmp_path / name)
        (folder / "dataset.json").write_bytes(text)
        refused(folder, f"{name}: dataset.json is damaged")
    (folder / "dataset.json").unlink()
    os.mkfifo(folder / "dataset.json")
    refused(folder, "bytes: dataset.json cannot be read (a named pipe and no file)")
    change(held, names=[f"c{n}" for n in range(8)])
    refused(held, "has 8 classes by dataset.json, and 7 training images: expected no more classes")
    change(held, format="kdjax packed images, 9")
    refused(held, f"is of the format 'kdjax packed images, 9'; expected '{FORMAT}'")


def test_refused_files(held, unhashed):
    file = held / "train-00001.array_record"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    refused(held, f"train-00001.array_record has {len(whole) - 1} bytes, dataset.json says {len(whole)}: pack it again")
    file.write_bytes(bytes(len(whole)))
    refused(held, "train-00001.array_record is damaged", "expected 3 records in it")
    file.unlink()
    refused(held, "train-00001.array_record is missing, which dataset.json names")
    labels = held / "test-labels.npy"
    file.write_bytes(whole)
    np.save(labels, LABELS[:3].astype(np.float32))
    refused(held, "test-labels.npy is damaged: expected 3 labels, int32")
    labels.write_bytes(bytes(labels.stat().st_size))
    refused(held, "test-labels.npy is damaged: expected 3 labels, int32")
    for wrong, classes in ((3, 3), (-2, 3), (0, 0)):
        np.save(labels, np.array([0, 1, wrong], np.int32))
        change(held, names=list("abc")[:classes])
        refused(held, "0 to 2, the classes of dataset.json" if classes else "expected -1 alone", f"holds {wrong or 2}")


def test_a_flipped_byte_is_found_at_once_or_when_it_is_read(tmp_path, monkeypatch):
    # PNGs, because array_record compresses raw records and would hide where they lie.
    records = [encoded(image) for image in IMAGES]
    folder = write(tmp_path / "held", records, "png")
    file = folder / "train-00000.array_record"
    data = bytearray(file.read_bytes())
    data[data.index(records[2]) + 50] ^= 1
    file.write_bytes(data)
    refused(folder, f"{file} is damaged: its sha256 is not that of dataset.json")
    monkeypatch.setattr("kdjax.data.array_record.SMALL", 0)
    refused(folder, "its sha256", verify=True)
    opened = open_packed(str(folder))
    with pytest.raises(Damaged, match=f"record 2 of {file}: cannot be read .chunk data hash mismatch") as error:
        opened.train.read(np.array([6, 2]))
    assert error.value.row == 1
    assert read_undamaged(opened.train, np.array([6, 2]), skip=True)[0]["index"].tolist() == [6, 3]


def test_a_record_of_another_length_is_named(tmp_path):
    records = [image.tobytes() for image in IMAGES]
    records[5] = records[5][:-1]
    opened = open_packed(str(write(tmp_path / "held", records)))
    assert math.prod(opened.shape) == 36
    with pytest.raises(Damaged, match=r"record 1 of .*train-00001.array_record: cannot be read .it has 35 bytes, expected 36"):
        opened.train.read(np.array([5]))


def test_images_are_as_they_were_packed_whatever_the_exif_orientation(held, tmp_path):
    refused(held, "exif_orientation=True is not accepted: its images were packed without that tag", "--exif-orientation",
            exif_orientation=True)  # fmt: skip
    turned = write(tmp_path / "turned", exif_orientation=True)
    plain, off, on = open_packed(str(held)), *(open_packed(str(turned), exif_orientation=x) for x in (False, True))
    assert (plain.exif_orientation, off.exif_orientation, on.exif_orientation) == (False, True, True)
    assert plain.digest() != off.digest() == on.digest()
