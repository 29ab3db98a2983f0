import itertools

import numpy as np
import pytest
from PIL import Image

from kdjax.core.check import InputError
from kdjax.data.folder import read_folder


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
    save(tmp_path / "val" / "cat" / "a.png", 99)
    arrays = read_folder(str(tmp_path))
    assert arrays.names == ("ant", "cat", "dog")
    assert arrays.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and arrays.test_labels.tolist() == [1, 2]
    assert arrays.train_images[:, 0, 0, 0].tolist() == [20, 21, 22, 30, 31, 32, 10, 11, 12]
    assert arrays.test_images[:, 0, 0, 0].tolist() == [33, 13]
    assert arrays.train_images.shape == (9, 4, 4, 1) and arrays.train_images.dtype == np.uint8
    assert arrays.train_labels.dtype == arrays.test_labels.dtype == np.int32


def test_class_folders_alone_are_split(tmp_path):
    for k, name in enumerate(("a", "b")):
        for i in range(10):
            save(tmp_path / name / f"{i}.png", 100 * k + i)
    arrays = read_folder(str(tmp_path))
    assert np.bincount(arrays.train_labels).tolist() == [8, 8] and np.bincount(arrays.test_labels).tolist() == [2, 2]
    seen = np.concatenate([arrays.train_images, arrays.test_images])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == [*range(10), *range(100, 110)]
    np.testing.assert_array_equal(arrays.train_images[:, 0, 0, 0] // 100, arrays.train_labels)
    np.testing.assert_array_equal(arrays.test_images, read_folder(str(tmp_path)).test_images)


def test_unlabelled(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", i)
    arrays = read_folder(str(tmp_path))
    assert arrays.names == () and arrays.train_labels.tolist() == [-1] * 4 and arrays.test_labels.tolist() == [-1]
    for part in ("train", "test"):
        save(tmp_path / "split" / part / "0.png", 7)
    assert read_folder(str(tmp_path / "split")).test_labels.tolist() == [-1]


def test_hidden_and_other_files_are_not_read(tmp_path):
    for i in range(5):
        save(tmp_path / "a" / f"{i}.png", i)
        save(tmp_path / ".cache" / f"{i}.png", i)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "a" / "._0.png").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "readme.txt").write_text("x")
    arrays = read_folder(str(tmp_path))
    assert arrays.names == ("a",) and len(arrays.train_images) == 4


def test_grey_and_colour_become_colour(tmp_path):
    save(tmp_path / "train" / "a" / "0.png", 50)
    save(tmp_path / "train" / "a" / "1.png", (50, 50), mode="LA")
    save(tmp_path / "test" / "a" / "0.png", (1, 2, 3, 128), mode="RGBA")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "test" / "a" / "1.png", transparency=b"\x00\x80")
    arrays = read_folder(str(tmp_path))
    assert arrays.train_images[:, 0, 0].tolist() == [[50] * 3] * 2
    assert arrays.test_images[:, 0, 0].tolist() == [[1, 2, 3], [9, 8, 7]]


def test_mixed_sizes(tmp_path):
    save(tmp_path / "0.png", 1, (4, 4))
    save(tmp_path / "1.png", 2, (6, 9), "L")
    refused(tmp_path, "0.png is 4x4", "1.png is 6x9", "--config.data.image_size")
    assert read_folder(str(tmp_path), image_size=5).train_images.shape == (1, 5, 5, 1)


def test_refused_files(tmp_path, monkeypatch):
    for i in range(3):
        save(tmp_path / "a" / f"{i}.png")
    broken = tmp_path / "a" / "broken.jpg"
    broken.write_bytes(b"no image")
    refused(tmp_path, str(broken), "cannot be decoded")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    refused(tmp_path, str(broken), "cannot be decoded")
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
        patch.setattr("pathlib.Path.iterdir", denied)
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
    refused(tmp_path, "has train/ but no test/")
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
