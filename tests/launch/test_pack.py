"""launch/pack.py, and what it refuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from launching import call
from made import encoded, pixels, write_tfds
from PIL import Image

from kdjax.core import InputError
from kdjax.data import load
from launch import pack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of ten colour images of two classes, of several sizes."""
    root = tmp_path_factory.mktemp("photos")
    for k, name in enumerate(("cat", "dog")):
        (root / name).mkdir()
        for i in range(10):
            (root / name / f"{i}.png").write_bytes(encoded(pixels(1, size=9 + i % 2, channels=3, seed=10 * k + i)[0]))
    return root


def packed(*words):
    answer = call(pack, *words)
    assert answer.code == 0, answer
    return answer


def rows(source):
    return source.read(np.arange(source.size))


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("workers", [0, 1])
def test_lossless(photos, tmp_path, encoding, workers):
    out = tmp_path / "out"
    answer = packed(f"folder:{photos}", out, "--image-size=8", f"--encoding={encoding}", f"--workers={workers}")
    assert f"{out}: 16 images to train, 4 to test, " in answer.out and f"MiB as {encoding}" in answer.out
    a, b = load(f"folder:{photos}", image_size=8), load(f"array_record:{out}")
    assert a.digest == b.digest and a.names == b.names and a.shape == b.shape == (8, 8, 3)
    for part in ("train", "test"):
        np.testing.assert_array_equal(rows(getattr(a, part))["image"], rows(getattr(b, part))["image"])
        np.testing.assert_array_equal(getattr(a, part).labels(), getattr(b, part).labels())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    origin = json.loads((out / "dataset.json").read_text())["origin"]
    assert origin == {
        "source": f"folder:{photos}",
        "digest": load(f"folder:{photos}", image_size=8, reader="streaming").digest,
        "image_size": 8,
    }
    assert answer.out.startswith(str(out)) and packed("--check", out).out == (
        f"{out}: 16 images to train, 4 to test, all files as they were written\n"
    )


def test_jpeg_is_near_and_grey_stays_grey(tmp_path):
    smooth = np.broadcast_to(np.arange(0, 256, 16, dtype=np.uint8)[:, None], (16, 16))
    (tmp_path / "in").mkdir()
    for i in range(5):
        Image.fromarray(smooth).save(tmp_path / "in" / f"{i}.png")
    errors = []
    for quality in (95, 10):
        out = tmp_path / f"out{quality}"
        packed(f"folder:{tmp_path / 'in'}", out, "--encoding=jpeg", f"--quality={quality}")
        assert json.loads((out / "dataset.json").read_text())["origin"]["quality"] == quality
        data = load(f"array_record:{out}")
        assert data.shape == (16, 16, 1) and data.names == () and data.train.labels().tolist() == [-1] * 4
        errors.append(abs(rows(data.train)["image"][..., 0].astype(int) - smooth).mean())
    assert errors[0] < 2 < errors[1]


def test_other_sources_and_many_files(tmp_path):
    write_tfds(tmp_path / "tfds")
    images = pixels(2000, size=28)
    np.savez(
        tmp_path / "a.npz", train_images=images, train_labels=np.arange(2000) % 3, test_images=images[:3], test_labels=[0, 1, 2]
    )
    for source, words, files in (
        ("tfds:tiny", [f"--data-dir={tmp_path / 'tfds'}"], 1),
        (f"npz:{tmp_path / 'a.npz'}", ["--shard-size=1"], 2),
        ("digits", ["--image-size=12"], 1),
    ):
        out = tmp_path / "packed" / source.partition(":")[0]
        out.mkdir(parents=True)  # an empty folder is accepted
        packed(source, out, *words)
        size = 12 if source == "digits" else None
        a, b = load(source, directory=str(tmp_path / "tfds"), image_size=size), load(f"array_record:{out}", reader="streaming")
        assert len(list(out.glob("train-*.array_record"))) == files
        order = np.random.default_rng(0).permutation(a.train.size)[:300]
        for key, value in a.train.read(order).items():
            np.testing.assert_array_equal(value, b.train.read(order)[key])
        assert (a.names, a.digest) == (b.names, load(f"array_record:{out}").digest)


def test_further_columns_are_packed(tmp_path):
    images, masks, domains = pixels(70, size=4), np.arange(70 * 16, dtype=np.uint16).reshape(70, 4, 4), np.arange(70) % 3
    arrays = {"images": images, "labels": np.arange(70) % 2, "mask": masks, "domain": domains}
    np.savez(tmp_path / "a.npz", **{f"{part}_{name}": x for part in ("train", "test") for name, x in arrays.items()})
    packed(f"npz:{tmp_path / 'a.npz'}", tmp_path / "out", "--workers=1")
    whole = load(f"npz:{tmp_path / 'a.npz'}")
    for reader in ("resident", "streaming"):
        found = rows(load(f"array_record:{tmp_path / 'out'}", reader=reader).test)
        assert set(found) == {"image", "label", "index", "mask", "domain"}
        for name, x in rows(whole.test).items():
            np.testing.assert_array_equal(found[name], x)
    assert load(f"array_record:{tmp_path / 'out'}").digest == whole.digest
    for place in ("a.npz", "out"):
        source = f"{'npz' if place == 'a.npz' else 'array_record'}:{tmp_path / place}"
        with pytest.raises(
            InputError, match=r"image_size=8 is not accepted: 'mask' would not move with the images; expected a set"
        ):
            load(source, image_size=8)


def test_several_classes_of_an_image_stay_while_it_is_resized(tmp_path):
    images, classes = pixels(70, size=4), (np.arange(70 * 5).reshape(70, 5) % 3 == 0).astype(np.int32)
    np.savez(
        tmp_path / "a.npz",
        **{f"{part}_{name}": x for part in ("train", "test") for name, x in (("images", images), ("classes", classes))},
    )
    packed(f"npz:{tmp_path / 'a.npz'}", tmp_path / "out", "--workers=1")
    for source in (f"npz:{tmp_path / 'a.npz'}", f"array_record:{tmp_path / 'out'}"):
        found = rows(load(source, image_size=6).test)
        assert found["image"].shape[1:3] == (6, 6)
        np.testing.assert_array_equal(found["classes"], classes)


def test_validation_images_are_packed_and_what_was_not_read_is_told(tmp_path):
    for i, image in enumerate(pixels(12)):
        file = tmp_path / "in" / ("train", "val", "test")[i % 3] / f"{i // 6}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(image))
    (tmp_path / "in" / "notes.txt").write_text("x")
    answer = packed(f"folder:{tmp_path / 'in'}", tmp_path / "out")
    assert ": 4 images to train, 4 to test, 4 to validate, " in answer.out
    assert "not read: 1 with another ending than an image's (.txt; the first notes.txt)" in answer.out
    a, b = load(f"folder:{tmp_path / 'in'}"), load(f"array_record:{tmp_path / 'out'}")
    assert a.digest == b.digest and b.own_val
    np.testing.assert_array_equal(rows(a.val)["image"], rows(b.val)["image"])


def test_skipped_images_are_left_out_and_named(photos, tmp_path):
    copy = tmp_path / "photos"
    for file in photos.rglob("*.png"):
        (copy / file.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / file.parent.name / file.name).write_bytes(file.read_bytes()[: -60 if file.name == "3.png" else None])
    answer = call(pack, f"folder:{copy}", tmp_path / "out", "--image-size=8")
    assert answer.code == 2 and not (tmp_path / "out").exists() and len(list(tmp_path.iterdir())) == 1
    assert "cat/3.png: cannot be decoded, the file is damaged or no image; --corrupt=skip leaves it out" in answer.err
    answer = packed(f"folder:{copy}", tmp_path / "out", "--image-size=8", "--corrupt=skip")
    lines = json.loads((tmp_path / "out" / "dataset.json").read_text())["skipped"]
    assert sorted(line.partition(": ")[0] for line in lines) == [f"image {copy}/{name}/3.png" for name in ("cat", "dog")]
    assert f"2 left out, listed in its dataset.json; the first: {lines[0]}" in answer.out
    data = load(f"array_record:{tmp_path / 'out'}")
    assert data.train.size + data.test.size == 18 and data.damaged == ()


TABLE = {
    "nothing": ("", "expected a data source and a folder to write"),
    "no target": ("digits", "expected a data source and a folder to write"),
    "flag": ("digits {t}/o --encodng=png", "--encodng=png"),
    "source": ("digit {t}/o", "data source 'digit' is not known; accepted: digits"),
    "encoding": ("digits {t}/o --encoding=pgn", "--encoding='pgn' is not accepted: expected one of png"),
    "corrupt": ("digits {t}/o --corrupt=ignore", "--corrupt='ignore' is not accepted: expected one of"),
    "quality": ("digits {t}/o --encoding=jpeg --quality=0", "--quality='0' is not accepted: expected a whole number, 1 to 100"),
    "quality of raw": ("digits {t}/o --quality=80", "--quality=80 is not accepted with --encoding=raw: it is for jpeg"),
    "image size": ("digits {t}/o --image-size=0", "--image-size='0' is not accepted: expected a whole number, 1 to"),
    "workers": ("digits {t}/o --workers=two", "--workers='two' is not accepted"),
    "shard size": ("digits {t}/o --shard-size=0.5", "--shard-size='0.5' is not accepted"),
    "target with files": ("digits {t}/full", "full holds files: expected a folder that is not there, or is empty"),
    "target a file": ("digits {t}/full/a.txt", "a.txt is a file: expected a folder"),
    "target below nothing": ("digits {t}/none/o", "the folder {t}/none is not there"),
    "several sizes": ("folder:{p} {t}/o", "expected one size, or --image-size=<pixels> to resize and crop all"),
    "no folder": ("folder:{t}/none {t}/o", "none: no such directory"),
    "no tfds": ("tfds:mnist {t}/o --data-dir={t}/none", "expected --data-dir=<dir> with <dir>/mnist/<version>/"),
    "five channels": ("npz:{t}/full/five.npz {t}/o --encoding=png", "the images have 5 channels; accepted: raw"),
    "orientation of digits": ("digits {t}/o --exif-orientation", "'digits': --exif-orientation is not accepted"),
    "check two": ("--check {t}/full {t}/o", "--check expects one packed folder"),
    "check foreign": ("--check {t}/full", "holds no dataset.json"),
}


@pytest.mark.parametrize("row", TABLE)
def test_wrong_input_is_refused_in_one_line(row, photos, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("words")
    five = pixels(2, channels=5)
    np.savez(tmp_path / "full" / "five.npz", train_images=five, train_labels=[0, 1], test_images=five, test_labels=[0, 1])
    words, said = (text.format(t=tmp_path, p=photos) for text in TABLE[row])
    answer = call(pack, *words.split())
    assert answer.code == 2 and answer.out == "", answer
    lines = answer.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0], answer
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_all_damaged_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(10):
        (tmp_path / "in" / f"{i}.png").write_bytes(encoded(pixels(1, size=32)[0])[:-400])
    answer = call(pack, f"folder:{tmp_path / 'in'}", tmp_path / "out", "--corrupt=skip")
    assert answer.code == 2 and "nor can any other of the 8 images of train" in answer.err
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_help():
    answer = call(pack, "--help")
    assert answer.code == 0 and "--shard-size=<MiB>" in answer.out and "tfds:<name>" in answer.out


def test_an_interrupted_packing_leaves_nothing(tmp_path):
    images, labels = pixels(20_000, size=32), np.zeros(20_000, int)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    command = [sys.executable, ROOT / "launch/pack.py", f"npz:{tmp_path / 'a.npz'}", tmp_path / "out", "--encoding=png"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not any(tmp_path.glob(".out.*/train-00000.array_record")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_images_are_turned_before_they_are_packed(tmp_path):
    (tmp_path / "in").mkdir()
    for i, image in enumerate(pixels(5)):
        (tmp_path / "in" / f"{i}.png").write_bytes(encoded(image[:6], orientation=8))
    packed(f"folder:{tmp_path / 'in'}", tmp_path / "out", "--encoding=png", "--exif-orientation")
    packed(f"array_record:{tmp_path / 'out'}", tmp_path / "again")
    wanted = load(f"folder:{tmp_path / 'in'}", exif_orientation=True)
    for name in ("out", "again"):
        data = load(f"array_record:{tmp_path / name}")
        assert data.exif_orientation and data.shape == wanted.shape == (8, 6, 1) and data.digest == wanted.digest
        assert json.loads((tmp_path / name / "dataset.json").read_text())["origin"]["exif_orientation"] is True
