import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from made import IMAGE, LABEL, encoded, example, pixels, tfds_images, tfds_records, write_shard, write_tfds

from kdjax.core.check import InputError
from kdjax.data import Damaged, load, read_undamaged
from kdjax.data.resize import resize_crop
from kdjax.data.sampler import TEST_SPLIT
from kdjax.data.split import stratified
from kdjax.data.tfds import open_tfds

ROOT = Path(__file__).parents[2]


def rows(source):
    return source.read(np.arange(source.size))


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder with one small set."""
    directory = tmp_path_factory.mktemp("tfds")
    write_tfds(directory)
    return directory


@pytest.fixture
def copy(held, tmp_path):
    """The same to damage: `(directory, folder of the set)`."""
    directory = shutil.copytree(held, tmp_path / "tfds")
    return directory, directory / "tiny" / "1.0.0"


def refused(rest, directory, *words, **options):
    with pytest.raises(InputError) as error:
        opened = open_tfds(rest, str(directory), **options)
        rows(opened.train)
    line = str(error.value)
    assert "\n" not in line and len(line) < 480, line
    for word in words:
        assert word in line, line
    return error.value


def test_images_and_labels_of_both_splits(held):
    opened = open_tfds("tiny", str(held))
    assert (opened.shape, opened.names, opened.train.size, opened.test.size) == ((8, 8, 1), ("cat", "dog"), 12, 6)
    for seed, source in enumerate((opened.train, opened.test)):
        images, labels = tfds_images(source.size, seed)
        batch = rows(source)
        np.testing.assert_array_equal(batch["image"], images)
        np.testing.assert_array_equal(batch["label"], labels)
        np.testing.assert_array_equal(source.labels(), labels)
        assert {k: v.dtype for k, v in batch.items()} == {"image": np.uint8, "label": np.int32, "index": np.int32}
        assert source.labels().dtype == np.int32
    some = opened.train.read(np.array([11, 0, 7, 0]))  # over both files, one row twice
    assert some["index"].tolist() == [11, 0, 7, 0]
    np.testing.assert_array_equal(some["image"], tfds_images(12, 0)[0][[11, 0, 7, 0]])


def test_streaming_and_resident_are_the_same(held):
    options = {"directory": str(held), "val_fraction": 0.25, "seed": 3}
    lazy, whole = (load("tfds:tiny", reader=reader, **options) for reader in ("streaming", "resident"))
    assert (lazy.resident, whole.resident, lazy.damaged) == (False, True, ())
    for part in ("train", "val", "test"):
        a, b = getattr(lazy, part), getattr(whole, part)
        for key, value in rows(a).items():
            np.testing.assert_array_equal(value, rows(b)[key])
        np.testing.assert_array_equal(a.labels(), b.labels())
    assert lazy.val is not None and lazy.val.size == 4
    assert lazy._replace(train=0, val=0, test=0, digest=0, resident=0) == whole._replace(
        train=0, val=0, test=0, digest=0, resident=0
    )


def test_the_digest_knows_files_and_settings(held, copy):
    digest = open_tfds("tiny", str(held)).digest()
    assert digest == open_tfds("tiny:1.0.0", str(copy[0])).digest()  # wherever it lies
    assert digest != open_tfds("tiny", str(held), 4).digest()
    (copy[1] / "label.labels.txt").write_text("cat\nhorse\n")
    assert digest != open_tfds("tiny", str(copy[0])).digest()


def test_tensorflow_is_never_imported_nor_the_network_used(held):
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise OSError('no network')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from kdjax.data import load\n"
        f"data = load('tfds:tiny', directory={str(held)!r}, val_fraction=0.25)\n"
        f"load('tfds:tiny', directory={str(held)!r}, reader='streaming').train.read([3])\n"
        "assert not {'tensorflow', 'torch', 'cv2'} & set(sys.modules)\n"
        "print(data.train.size)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("8\n", "", 0)


def test_labels_are_read_without_images(tmp_path):
    records = [example(b"no image", k % 2) for k in range(600)]  # more than are read at once
    write_tfds(tmp_path, splits={"train": records, "test": records[:4]})
    opened = open_tfds("tiny", str(tmp_path))
    assert opened.train.labels().tolist() == [0, 1] * 300
    with pytest.raises(Damaged, match=r"record 0 of .*tiny-train.array_record-00000-of-00002: cannot be decoded"):
        rows(opened.train)


def test_grey_palette_and_colour_files_in_a_set_of_colour(tmp_path):
    grey, colour = pixels(4), pixels(4, channels=3)
    records = [example(encoded(grey[0]), 0), example(encoded(colour[1]), 1), example(encoded(colour[2], "JPEG"), 0)]
    write_tfds(tmp_path, splits={"train": records, "test": records}, shape=(8, 8, None))
    opened = open_tfds("tiny", str(tmp_path))
    images = rows(opened.train)["image"]
    assert opened.shape == (8, 8, 3)
    np.testing.assert_array_equal(images[0], np.repeat(grey[0], 3, -1))
    np.testing.assert_array_equal(images[1], colour[1])


def test_open_sizes_are_resized_as_folders_are(tmp_path):
    from kdjax.data.resize import resize_crop

    images = [pixels(1, size=6)[0], pixels(1, size=9)[0]]
    records = [example(encoded(image), 0) for image in images]
    write_tfds(tmp_path, splits={"train": records, "test": records}, shape=(None, None, 1))
    opened = open_tfds("tiny", str(tmp_path), 5)
    np.testing.assert_array_equal(rows(opened.test)["image"], [resize_crop(image, 5) for image in images])
    refused("tiny", tmp_path, "tiny/1.0.0", "its images have several sizes", "--config.data.image_size=<pixels>")


def test_versions_configs_and_the_default_folder(tmp_path, monkeypatch):
    for version, n in (("1.9.0", 2), ("1.10.0", 3)):
        write_tfds(tmp_path, "one", version, {"train": tfds_records(n, 0), "test": tfds_records(2, 1)})
    write_tfds(tmp_path, "two/small", splits={"train": tfds_records(4, 0), "test": tfds_records(2, 1)})
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    sizes = {rest: open_tfds(rest).train.size for rest in ("one", "one:1.9.0", "two", "two/small", "two/small:1.0.0")}
    assert list(sizes.values()) == [3, 2, 4, 4, 4]
    write_tfds(tmp_path, "two/large")
    refused("two", tmp_path, "two has several configs", "tfds:two/<config>", "large, small")
    refused("two/smal", tmp_path, "two has no config 'smal'", "accepted: small")
    refused("one/small", tmp_path, "one has no config 'small'", "expected tfds:one")


def test_validation_serves_as_test(tmp_path):
    train, known, unknown = tfds_records(6, 0), tfds_records(4, 1), [example(encoded(pixels(1)[0]), -1)] * 5
    for name, test, size in (("without", {}, 4), ("unlabelled", {"test": unknown}, 4), ("both", {"test": known[:2]}, 2)):
        write_tfds(tmp_path, name, splits={"train": train, "validation": known, **test})
        assert open_tfds(name, str(tmp_path)).test.size == size
    write_tfds(tmp_path, "alone", splits={"train": train, "test": unknown})
    assert open_tfds("alone", str(tmp_path)).test.labels().tolist() == [-1] * 5


def test_of_test_alone_there_is_nothing_to_learn_from(tmp_path):
    write_tfds(tmp_path, splits={"test": tfds_records(4, 1)})
    for reader in ("streaming", "resident"):
        found = load("tfds:tiny", directory=str(tmp_path), reader=reader)
        assert (found.train.size, found.test.size, found.classes, found.val) == (0, 4, 2, None)
        assert found.test.read(np.arange(4))["label"].tolist() == open_tfds("tiny", str(tmp_path)).test.labels().tolist()
        assert len(found.train.read(np.arange(0))["image"]) == 0


def test_validation_beside_a_labelled_test_set_validates(tmp_path):
    records = {split: tfds_records(n, seed) for seed, (split, n) in enumerate((("train", 6), ("test", 4), ("validation", 5)))}
    write_tfds(tmp_path, splits=records)
    for reader in ("streaming", "resident"):
        data = load("tfds:tiny", directory=str(tmp_path), reader=reader, val_fraction=0.3)
        assert data.own_val and (data.train.size, data.val.size, data.test.size) == (6, 5, 4)
        np.testing.assert_array_equal(rows(data.val)["image"], tfds_images(5, 2)[0])
    without = write_tfds(tmp_path / "without", splits={k: v for k, v in records.items() if k != "validation"})
    assert open_tfds("tiny", str(without.parents[1])).digest() != open_tfds("tiny", str(tmp_path)).digest()


def test_of_train_alone_a_fifth_is_for_the_test(tmp_path):
    images, labels = tfds_images(20, 0)
    write_tfds(tmp_path, splits={"train": tfds_records(20, 0)})
    opened = open_tfds("tiny", str(tmp_path))
    kept, cut = stratified(labels, 0.2, seed=0, stream=TEST_SPLIT)
    assert (opened.train.size, opened.test.size) == (16, 4)
    for source, numbers in ((opened.train, kept), (opened.test, cut)):
        batch = rows(source)
        np.testing.assert_array_equal(batch["image"], images[numbers])
        np.testing.assert_array_equal(batch["label"], labels[numbers])
        np.testing.assert_array_equal(source.labels(), labels[numbers])
        assert batch["index"].tolist() == list(range(source.size))
    lazy, whole = (load("tfds:tiny", directory=str(tmp_path), val_fraction=0.25, reader=r) for r in ("streaming", "resident"))
    for a, b in ((lazy.train, whole.train), (lazy.val, whole.val), (lazy.test, whole.test)):
        np.testing.assert_array_equal(rows(a)["image"], rows(b)["image"])


def test_classes_are_counted_before_they_are_named(tmp_path):
    folder = write_tfds(tmp_path, changed={"label": {"pythonClassName": LABEL, "classLabel": {"numClasses": str(2**30)}}})
    (folder / "label.labels.txt").unlink()
    refused("tiny", tmp_path, "has 1,073,741,824 classes by features.json, and 12 training images: expected no more classes")


def test_refused_places(held, tmp_path):
    refused("tiny", tmp_path / "none", "none is not there", "<dir>/tiny/<version>/", "`tfds build tiny --data_dir=")
    refused("tinny", held, "holds no set 'tinny'", "found there: tiny", "--config.data.dir=<dir>")
    refused("tiny", held / "tiny", "holds no set 'tiny'", "found there: none")
    refused("tiny:2.0.0", held, "tiny in", "has no version '2.0.0'", "accepted: 1.0.0")
    refused("tiny:1", held, "has no version '1'", "accepted: 1.0.0")
    for rest in ("", ":1.0.0", "../tiny", "a/b/c", "tiny/"):
        refused(rest, held, f"'tfds:{rest}' is not accepted", "expected tfds:<name>[/<config>][:<version>]")


def test_refused_files_of_the_set(copy):
    directory, folder = copy
    info = json.loads((folder / "dataset_info.json").read_text())
    for format_ in ("tfrecord", "riegeli"):
        (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": format_}))
        refused("tiny", directory, f"is kept as {format_}", "expected array_record", "convert_format", f"={folder}")
    del info["fileFormat"]  # as TFDS wrote it before it had another
    (folder / "dataset_info.json").write_text(json.dumps(info))
    refused("tiny", directory, "is kept as tfrecord")
    (folder / "dataset_info.json").write_text("{")
    refused("tiny", directory, "dataset_info.json is damaged")
    (folder / "dataset_info.json").unlink()
    refused("tiny", directory, "dataset_info.json is missing", "finished preparing")
    os.mkfifo(folder / "dataset_info.json")
    refused("tiny", directory, "dataset_info.json cannot be read (a named pipe and no file)")


def test_refused_features(tmp_path):
    text = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
    sides = {name: {"dtype": "uint8", "shape": {"dimensions": list(text)}} for name, text in (("flat", "888"), ("rank", "8881"))}
    sides["flat"]["shape"]["dimensions"][0] = "0"
    changes = {
        **{
            name: ({"image": {"pythonClassName": IMAGE, "image": of}}, ("its images have the shape (",))
            for name, of in sides.items()
        },
        "nolabel": ({"label": None, "digit": text}, ("has no feature 'label'", "it has", "digit", "image")),
        "noimage": ({"image": None, "img": text}, ("has no feature 'image'", "it has img, label")),
        "textlabel": ({"label": text}, ("feature 'label' is a Text: expected ClassLabel",)),
        "strange": ({"label": {"pythonClassName": "nothing.at.All"}}, ("cannot be opened by TFDS",)),
        "deep": (
            {"image": {"pythonClassName": IMAGE, "image": {"dtype": "uint16", "shape": {"dimensions": ["8", "8", "1"]}}}},
            ("its images are uint16: expected uint8",),
        ),
    }
    for name, (changed, words) in changes.items():
        write_tfds(tmp_path, name, changed=changed)
        refused(name, tmp_path, f"{name}/1.0.0", *words)
    write_tfds(tmp_path, "classes", names=())
    refused("classes", tmp_path, "no classes")


def test_refused_splits(tmp_path):
    records = tfds_records(3, 0)
    write_tfds(tmp_path, "trainless", splits={"validation": records, "extra": records})
    refused("trainless", tmp_path, "has the splits extra, validation: expected train, and test or validation, or train")
    write_tfds(tmp_path, "testless", splits={"train": records})
    refused("testless", tmp_path, "testless/1.0.0: class 'dog' has 1 example, too few to cut a part of 0.2 from")
    write_tfds(tmp_path, "empty", splits={"train": records, "test": []})
    refused("empty", tmp_path, "split test is empty: expected 1 image or more")


def test_refused_shards(copy):
    directory, folder = copy
    file = folder / "tiny-train.array_record-00001-of-00002"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-50], b"text", b""):
        file.write_bytes(damaged)
        refused("tiny", directory, f"file {file} is damaged", "expected 6 records in it")
    write_shard(file, tfds_records(4, 0))
    refused("tiny", directory, f"file {file} holds 4 records: expected 6")
    file.unlink()
    refused("tiny", directory, f"file {file} is missing: expected 6 records in it")
    os.mkfifo(file)
    refused("tiny", directory, f"file {file} is no file: expected 6 records in it")


def test_refused_records(tmp_path):
    good = tfds_records(4, 0)
    bad = {
        "other": (example(encoded(pixels(1, size=9)[0]), 0), "is 9x9, unlike what features.json says, 8x8"),
        "colour": (example(encoded(pixels(1, channels=3)[0]), 0), "is in colour, unlike what features.json says"),
        "label": (example(encoded(pixels(1)[0]), 2), "has the label 2: expected 0 to 1"),
        "below": (example(encoded(pixels(1)[0]), -2), "has the label -2: expected 0 to 1"),
        "large": (example(encoded(pixels(1)[0]), 2**40), "has the label 1099511627776: expected 0 to 1"),
        "words": (b"words", "cannot be read (it holds no image with a label)"),
        "nothing": (b"", "cannot be read (it holds no image with a label)"),
        "cut": (example(encoded(pixels(1)[0])[:-30], 0), "cannot be decoded"),
    }
    for name, (record, said) in bad.items():
        write_tfds(tmp_path, name, splits={"train": [*good, record], "test": good}, shards=1)
        error = refused(name, tmp_path, f"record 4 of {tmp_path / name}/1.0.0/{name}-train.array_record-00000-of-00001: {said}")
        assert not isinstance(error, Damaged) or error.row == 4
        if name in ("label", "below", "large"):
            with pytest.raises(InputError, match=r"record 4 of .* has the label .*: expected 0 to 1"):
                open_tfds(name, str(tmp_path)).train.labels()


@pytest.fixture
def flipped(tmp_path):
    """A set whose record 1 of its second file, row 7, has a flipped byte."""
    folder = write_tfds(tmp_path)
    file = folder / "tiny-train.array_record-00001-of-00002"
    data = bytearray(file.read_bytes())
    at = data.index(b"IDAT", data.index(b"IDAT") + 4)
    data[at + 20] ^= 1
    file.write_bytes(data)
    return tmp_path, file


def test_one_damaged_record_is_named(flipped):
    directory, file = flipped
    opened = open_tfds("tiny", str(directory))
    with pytest.raises(Damaged, match=f"record 1 of {file}: cannot be read .chunk data hash mismatch.; --config") as error:
        opened.train.read(np.array([2, 7, 7]))
    assert error.value.row == 1
    with pytest.raises(Damaged, match="record 1 of"):
        load("tfds:tiny", directory=str(directory))
    batch, lines = read_undamaged(opened.train, np.array([6, 7, 11]), skip=True)
    assert batch["index"].tolist() == [6, 8, 11] and len(lines) == 1 and str(file) in lines[0]
    assert opened.train.labels().tolist() == [0, 1] * 3 + [0, 0] + [0, 1] * 2  # that of the record after it


def test_one_damaged_record_is_stepped_over(flipped):
    for fraction in (0.0, 0.3):
        options = {"directory": str(flipped[0]), "corrupt": "skip", "val_fraction": fraction}
        lazy, whole = (load("tfds:tiny", reader=reader, **options) for reader in ("streaming", "resident"))
        assert len(whole.damaged) == 1 and "record 1 of" in whole.damaged[0]
        found = []
        for a, b in ((lazy.train, whole.train), (lazy.val, whole.val), (lazy.test, whole.test)):
            if a is not None:
                sound, lines = read_undamaged(a, np.arange(a.size), skip=True)
                found += lines
                for key, value in sound.items():
                    np.testing.assert_array_equal(value, rows(b)[key])
        assert found == list(whole.damaged)


def test_a_source_can_be_sent_to_a_worker(held):
    data = load("tfds:tiny", directory=str(held), reader="streaming", val_fraction=0.25)
    for source in (data.train, data.val):
        source.read(np.array([0]))  # opens its files
        again = pickle.loads(cloudpickle.dumps(source.read))
        np.testing.assert_array_equal(again(np.array([1, 0]))["image"], source.read(np.array([1, 0]))["image"])


def test_more_files_than_a_process_may_open_are_refused(held, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (65, 65))
    refused("tiny", held, "and 1 files more: a process may open 65 files here; expected `ulimit -n 68` before")


def test_exif_orientation_is_applied_where_it_is_asked_for(tmp_path):
    images = [image[:6] for image in pixels(12)]
    records = [example(encoded(image, orientation=6), i % 2) for i, image in enumerate(images)]
    write_tfds(tmp_path, splits={"train": records, "test": records[:4]}, shape=(None, None, 1))
    plain, turned = (open_tfds("tiny", str(tmp_path), 8, exif_orientation=on) for on in (False, True))
    assert plain.digest() != turned.digest() and (plain.exif_orientation, turned.exif_orientation) == (False, True)
    upright = np.rot90(images[0], -1)
    np.testing.assert_array_equal(rows(turned.train)["image"][0], resize_crop(upright, 8))
    np.testing.assert_array_equal(rows(plain.train)["image"][0], resize_crop(images[0], 8))
