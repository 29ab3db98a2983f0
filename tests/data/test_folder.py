import itertools
import os
import shutil

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from kdjax.core.check import InputError
from kdjax.data import Damaged, load
from kdjax.data.folder import open_folder
from kdjax.data.memory import decode_all
from kdjax.data.source import Arrays


def read_folder(directory, **options):
    opened = open_folder(directory, **options)
    train, test = decode_all([opened.train, opened.test], opened.shape, skip=False)
    return Arrays(train.columns, test.columns, opened.names)


def save(file, value=0, size=(4, 4), mode="L"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], value).save(file)


def refused(root, *words, **options):
    with pytest.raises(InputError) as error:
        read_folder(str(root), **options)
    line = str(error.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def test_given_split(tmp_path):
    for name, value in (("dog", 10), ("ant", 20), ("cat", 30)):
        for i in range(3):
            save(tmp_path / "train" / name / f"{i}.png", value + i)
    save(tmp_path / "test" / "dog" / "b.bmp", 13)
    save(tmp_path / "test" / "cat" / "a.PNG", 33)
    save(tmp_path / "validated" / "cat" / "a.png", 99)
    arrays = read_folder(str(tmp_path))
    assert arrays.names == ("ant", "cat", "dog")
    assert arrays.train["label"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and arrays.test["label"].tolist() == [1, 2]
    assert arrays.train["image"][:, 0, 0, 0].tolist() == [20, 21, 22, 30, 31, 32, 10, 11, 12]
    assert arrays.test["image"][:, 0, 0, 0].tolist() == [33, 13]
    assert arrays.train["image"].shape == (9, 4, 4, 1) and arrays.train["image"].dtype == np.uint8
    assert arrays.train["label"].dtype == arrays.test["label"].dtype == np.int32


def test_class_folders_alone_are_split(tmp_path):
    for k, name in enumerate(("a", "b")):
        for i in range(10):
            save(tmp_path / name / f"{i}.png", 100 * k + i)
    arrays = read_folder(str(tmp_path))
    assert np.bincount(arrays.train["label"]).tolist() == [8, 8] and np.bincount(arrays.test["label"]).tolist() == [2, 2]
    seen = np.concatenate([arrays.train["image"], arrays.test["image"]])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == [*range(10), *range(100, 110)]
    np.testing.assert_array_equal(arrays.train["image"][:, 0, 0, 0] // 100, arrays.train["label"])
    np.testing.assert_array_equal(arrays.test["image"], read_folder(str(tmp_path)).test["image"])


def values(source):
    """The value of each image and its label."""
    batch = source.read(np.arange(source.size))
    return list(zip(batch["image"][:, 0, 0, 0].tolist(), batch["label"].tolist(), strict=True))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_images_of_its_own(tmp_path, name):
    """Beside a test set they validate; without one, as in ImageNet's layout, they test."""
    for part, base in (("train", 10), (name, 30), ("test", 50)):
        for k, label in enumerate("ab" if part == "train" else "b"):
            for i in range(2):
                save(tmp_path / part / label / f"{i}.png", base + 2 * k + i)
    opened = open_folder(str(tmp_path))
    assert values(opened.train) == [(10, 0), (11, 0), (12, 1), (13, 1)]
    assert values(opened.test) == [(50, 1), (51, 1)] and values(opened.val) == [(30, 1), (31, 1)] and not opened.notes
    digest = opened.digest()
    shutil.rmtree(tmp_path / "test")
    opened = open_folder(str(tmp_path))
    assert values(opened.test) == [(30, 1), (31, 1)] and opened.val is None and opened.digest() != digest
    save(tmp_path / name / "c" / "0.png")
    refused(tmp_path, f"{name}/c is no class of train/; accepted: a, b")


def test_of_train_alone_a_fifth_is_for_the_test(tmp_path):
    for k in range(2):
        for i in range(5):
            save(tmp_path / "train" / "ab"[k] / f"{i}.png", 10 * k + i)
    opened, alone = open_folder(str(tmp_path)), open_folder(str(tmp_path / "train"))
    assert opened.train.size == 8 and values(opened.test) == values(alone.test) and values(opened.train) == values(alone.train)


def test_of_test_alone_there_is_nothing_to_learn_from(tmp_path):
    for k in range(3):
        save(tmp_path / "test" / "ab"[k % 2] / f"{k}.png", k)
    for reader in ("resident", "streaming"):
        found = load(f"folder:{tmp_path}", reader=reader)
        assert (found.train.size, found.test.size, found.classes, found.val) == (0, 3, 2, None)
        assert found.test.read(np.arange(3))["label"].tolist() == [0, 0, 1]
        assert found.train.read(np.arange(0))["image"].shape == (0, 4, 4, 1)


def test_folders_inside_a_class_are_read(tmp_path):
    for i, file in enumerate(("1.png", "more/0.JFIF", "more/2.png", "more/deep/0.jpe", "z.png")):
        save(tmp_path / "a" / "x.png")
        (tmp_path / "a" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 10 * i).save(tmp_path / "a" / file, "PNG")
    (tmp_path / "a" / "x.png").unlink()
    (tmp_path / "b").symlink_to("a/more")
    (tmp_path / "a" / "more" / "deep" / "up").symlink_to("../..")  # leads back, but from b it leads to a, once
    opened = open_folder(str(tmp_path))
    found = [x for source in (opened.train, opened.test) for x in values(source)]
    assert sorted(v for v, label in found if label == 0) == [0, 10, 20, 30, 40]
    assert sorted(v for v, label in found if label == 1) == [0, 10, 20, 30, 40]
    assert len(opened.notes) == 1 and "2 leading back to a folder above (the first a/more/deep/up)" in opened.notes[0]


def test_what_is_not_read_is_counted_and_named(tmp_path):
    for part in ("train", "test"):
        for i in range(2):
            save(tmp_path / part / "a" / f"{i}.png", i)
    for name in ("train/a/notes.txt", "train/a/x/Thumbs.DB", "test/a/list", "train/a/.DS_Store", "labels.csv", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    os.mkfifo(tmp_path / "train" / "a" / "pipe.png")
    (tmp_path / "train" / "a" / "self.png").symlink_to("self.png")
    (tmp_path / "extra").mkdir()
    opened = open_folder(str(tmp_path))
    assert opened.train.size == opened.test.size == 2
    assert opened.notes == (
        "not read: 4 with another ending than an image's (.csv, .txt, .db, none; the first labels.csv), 2 beside the folders of "
        "the split (the first loose.png), 1 hidden (train/a/.DS_Store), 2 neither a file nor a folder (the first "
        "train/a/pipe.png)",
    )


def test_unlabelled(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", i)
    arrays = read_folder(str(tmp_path))
    assert arrays.names == () and arrays.train["label"].tolist() == [-1] * 4 and arrays.test["label"].tolist() == [-1]
    for part in ("train", "test"):
        save(tmp_path / "split" / part / "0.png", 7)
    assert read_folder(str(tmp_path / "split")).test["label"].tolist() == [-1]


def test_unlabelled_images_beside_labelled_ones(tmp_path):
    for i in range(3):
        save(tmp_path / "train" / f"{i}.png", i)
    for part in ("test/b", "test/a", "val/b"):
        save(tmp_path / part / "0.png", 7)
    opened = open_folder(str(tmp_path))
    assert opened.names == ("a", "b") and opened.train.labels().tolist() == [-1] * 3
    assert opened.val and opened.test.labels().tolist() == [0, 1] and opened.val.labels().tolist() == [1]
    save(tmp_path / "val" / "c" / "0.png", 7)
    refused(tmp_path, "val/c is no class of test/; accepted: ")


def test_hidden_and_other_files_are_not_read(tmp_path):
    for i in range(5):
        save(tmp_path / "a" / f"{i}.png", i)
        save(tmp_path / ".cache" / f"{i}.png", i)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "a" / "._0.png").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "readme.txt").write_text("x")
    arrays = read_folder(str(tmp_path))
    assert arrays.names == ("a",) and len(arrays.train["image"]) == 4
    (note,) = open_folder(str(tmp_path)).notes
    assert note == ("not read: 3 hidden (the first .DS_Store), 2 with another ending than an image's (.txt; the first readme.txt)")


def test_grey_and_colour_become_colour(tmp_path):
    save(tmp_path / "train" / "a" / "0.png", 50)
    save(tmp_path / "train" / "a" / "1.png", (50, 50), mode="LA")
    save(tmp_path / "test" / "a" / "0.png", (1, 2, 3, 128), mode="RGBA")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "test" / "a" / "1.png", transparency=b"\x00\x80")
    arrays = read_folder(str(tmp_path))
    assert arrays.train["image"][:, 0, 0].tolist() == [[50] * 3] * 2
    assert arrays.test["image"][:, 0, 0].tolist() == [[1, 2, 3], [9, 8, 7]]


def test_mixed_sizes(tmp_path):
    save(tmp_path / "0.png", 1, (4, 4))
    save(tmp_path / "1.png", 2, (6, 9), "L")
    refused(tmp_path, "0.png is 4x4", "1.png is 6x9", "--config.data.image_size")
    assert read_folder(str(tmp_path), image_size=5).train["image"].shape == (1, 5, 5, 1)


def test_refused_files(tmp_path, monkeypatch):
    for i in range(3):
        save(tmp_path / "a" / f"{i}.png")
    broken = tmp_path / "a" / "broken.jpg"
    broken.write_bytes(b"no image")
    refused(tmp_path, str(broken), "cannot be decoded")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    refused(tmp_path, str(broken), "cannot be decoded", image_size=4)
    broken.unlink()
    deep = tmp_path / "a" / "deep.png"
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(deep)
    refused(tmp_path, str(deep), "8 bits")
    deep.unlink()

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", denied)
        refused(tmp_path, str(tmp_path / "a" / "0.png"), "no permission")
    with monkeypatch.context() as patch:
        patch.setattr("os.scandir", denied)
        refused(tmp_path, str(tmp_path), "no permission")


def test_any_damage_is_one_line(tmp_path):
    file = tmp_path / "0.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(file)
    save(tmp_path / "1.png", size=(4, 4))
    whole = file.read_bytes()
    refusals = 0
    for at, flip in itertools.product(range(64), (0x01, 0x55)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        try:
            read_folder(str(tmp_path), image_size=4)
        except InputError as error:
            refusals += "0.png" in str(error)
    assert refusals > 100


def test_refused_forms(tmp_path):
    refused("", "no directory is named")
    refused(tmp_path / "none", "none", "no such directory")
    refused(tmp_path, str(tmp_path), "holds no images", ".png")
    save(tmp_path / "train" / "cat" / "0.png")
    refused(tmp_path / "train" / "cat" / "0.png", "is a file")
    refused(tmp_path, "class 'cat' has 1 example")
    refused(tmp_path / "train", "class 'cat' has 1 example")
    save(tmp_path / "untrained" / "test" / "0.png")
    refused(tmp_path / "untrained", "has test/ without class folders, and no train/")
    save(tmp_path / "twice" / "train" / "cat" / "0.png")
    for name in ("val", "valid"):
        save(tmp_path / "twice" / name / "cat" / "0.png")
    refused(tmp_path / "twice", "has val/ and valid/; expected one of val, valid, validation")
    (tmp_path / "test" / "cats").mkdir(parents=True)
    refused(tmp_path, "cats", "the class holds no images")
    save(tmp_path / "test" / "cats" / "0.png")
    refused(tmp_path, "test/cats is no class of train/", "accepted: cat")
    save(tmp_path / "test" / "0.png")
    refused(tmp_path, "holds images (0.png) and folders (cats)")
    save(tmp_path / "flat" / "train" / "cat" / "0.png")
    save(tmp_path / "flat" / "test" / "0.png")
    refused(tmp_path / "flat", "train/ has class folders, test/ has none")
    save(tmp_path / "one" / "cat" / "0.png")
    refused(tmp_path / "one", "class 'cat' has 1 example")


def test_of_many_files_only_some_are_opened(tmp_path, monkeypatch):
    for i in range(40):
        save(tmp_path / "ab"[i % 2] / f"{i:02d}.png", i)
    opened = []
    monkeypatch.setattr("kdjax.data.folder.header", lambda file, **options: opened.append(file.name) or (4, 4, 1))
    monkeypatch.setattr("kdjax.data.folder.decode", None)
    found = open_folder(str(tmp_path), headers=5)
    assert found.guessed and found.shape == (4, 4, 1) and found.train.size == 32
    assert sorted(opened) == sorted(["00.png", "18.png", "38.png", "19.png", "39.png"])  # spread over both classes
    assert np.bincount(found.train.labels()).tolist() == [16, 16]
    opened.clear()
    assert not open_folder(str(tmp_path), headers=None).guessed and len(opened) == 40
    assert not open_folder(str(tmp_path)).guessed


def test_rows_are_decoded_when_they_are_read(tmp_path):
    for i in range(6):
        save(tmp_path / "train" / "ab"[i % 2] / f"{i}.png", i)
        save(tmp_path / "test" / "b" / f"{i}.png", 10 + i)
    found = open_folder(str(tmp_path))
    (tmp_path / "train" / "a" / "2.png").write_bytes(b"words")
    batch = found.train.read(np.array([5, 0, 5]))
    assert batch["image"][:, 0, 0, 0].tolist() == [5, 0, 5] and batch["index"].tolist() == [5, 0, 5]
    assert batch["label"].tolist() == [1, 0, 1] and batch["label"].dtype == batch["index"].dtype == np.int32
    assert found.test.read(np.array([3]))["image"][0, 0, 0].tolist() == [13] and found.test.labels().tolist() == [1] * 6
    with pytest.raises(Damaged, match=r"a/2.png: cannot be decoded") as error:
        found.train.read(np.array([0, 1]))
    assert error.value.row == 1
    again = cloudpickle.loads(cloudpickle.dumps(found.train.read))
    np.testing.assert_array_equal(again(np.array([5, 0, 5]))["image"], batch["image"])


def test_a_file_that_does_not_fit_is_refused_when_it_is_read(tmp_path):
    for i in range(9):
        save(tmp_path / f"{i}.png", i)
    save(tmp_path / "1.png", 1, (5, 4))
    found = open_folder(str(tmp_path), headers=3)
    with pytest.raises(InputError, match=r"1.png: is 5x4, unlike the 3 images looked at first, 4x4 .*image_size=<pixels>"):
        found.train.read(np.arange(found.train.size))
    save(tmp_path / "1.png", (1, 2, 3), mode="RGB")
    with pytest.raises(InputError, match=r"1.png: is in colour, unlike the 3 images looked at first: .*reader=resident"):
        found.train.read(np.arange(found.train.size))
    assert open_folder(str(tmp_path), headers=None).shape == (4, 4, 3)


def test_damaged_headers_may_be_passed_over(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", i)
    (tmp_path / "3.png").write_bytes(b"words")
    refused(tmp_path, "3.png: cannot be decoded", "--config.data.corrupt=skip")
    assert open_folder(str(tmp_path), skip=True).shape == (4, 4, 1)
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(b"words")
    refused(tmp_path, "none of 5 images can be decoded", skip=True)


def test_the_digest_knows_files_and_settings(tmp_path, monkeypatch):
    for root in ("one", "two"):
        for i in range(5):
            save(tmp_path / root / f"{i}.png", i, (5, 4))

    def digest(root="one", *options):
        return open_folder(str(tmp_path / root), *options).digest()

    first = digest()
    assert first == digest("two") and len({first, digest("one", 4), digest("one", 3)}) == 3
    file = tmp_path / "two" / "0.png"
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    assert digest("two") != first
    monkeypatch.setattr("kdjax.data.source.READ_WHOLE", 10)  # larger sets: names and sizes
    assert digest("two") == digest("one") != first
    file.write_bytes(bytes(data) + b"0")
    assert digest("two") != digest("one")
    file.rename(tmp_path / "two" / "00.png")
    assert digest("two") != digest("one")
