"""Everything wrong that a user can type ends with exit code 2 and one line, and leaves nothing behind."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from launching import TINY, refused, snapshot, write_npz
from made import encoded, pixels, write_tfds
from PIL import Image
from wrong_words import TABLE

ROOT = Path(__file__).parents[2]
CONFIG = "from configs import quickstart\nget_config = quickstart.get_config\nbuild = quickstart.build\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files and folders that are wrong, each in its own way."""
    d = tmp_path_factory.mktemp("place")
    (d / "text.txt").write_text("words\n")
    (d / "no_build.py").write_text("def get_config(variant):\n    pass\n")
    (d / "syntax.py").write_text("x = 1\ndef get_config(:\n")
    (d / "fails.py").write_text("x = 1\ny = nothing\n")
    (d / "dict.py").write_text("def get_config(variant):\n    return {}\n\ndef build(config):\n    pass\n")
    (d / "no_seeds.py").write_text(
        CONFIG + "def get_config(variant):\n    c = quickstart.get_config()\n    del c.seeds\n    return c\n"
    )
    for name, content in {"foreign/thesis.txt": "mine", "damaged/config.json": "{", "other/config.json": '{"a": 1}'}.items():
        (d / name).parent.mkdir(exist_ok=True)
        (d / name).write_text(content)
    write_npz(d / "fine.npz")
    write_npz(d / "grey8.npz", size=8)
    write_npz(d / "rgb.npz", size=8, channels=3)
    write_npz(d / "one.npz", classes=1)
    whole = (d / "fine.npz").read_bytes()
    (d / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    at = zipfile.ZipFile(d / "fine.npz").getinfo("train_images.npy").header_offset + 300
    (d / "flipped.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with np.load(d / "fine.npz") as archive:
        fine = dict(archive)
    changes = {
        "pickled": {"train_labels": np.array([{}] * 64, object)},
        "rank": {"train_images": fine["train_images"].reshape(64, 16)},
        "dtype": {"train_images": fine["train_images"].astype(np.float32)},
        "labels": {"test_labels": np.full(16, 7)},
        "lengths": {"train_labels": fine["train_labels"][1:]},
        "holes": {"train_labels": np.array([0, 3] * 32), "test_labels": np.full(16, 3)},
        "classes": {"train_labels": np.array([0, 255] * 32)},
        "empty": {"train_images": fine["train_images"][:0], "train_labels": fine["train_labels"][:0]},
    }
    for name, change in changes.items():
        np.savez(d / f"{name}.npz", **fine | change)
    np.savez(d / "unlabelled.npz", train_images=fine["train_images"])
    np.savez(d / "half.npz", **{k: v for k, v in fine.items() if k != "train_labels"})
    np.savez(d / "key.npz", **{k if k != "test_labels" else "test_label": v for k, v in fine.items()})
    for folder in ("flat", "broken/a", "broken/b", "none_inside"):
        (d / folder).mkdir(parents=True)
    for i in range(5):
        for folder in ("flat", "broken/a", "broken/b"):
            Image.new("L", (4, 4), 40 * i).save(d / folder / f"{i}.png")
    (d / "broken/b/bad.png").write_text("no image")
    for kind in ("cut/a", "cut/b"):
        (d / kind).mkdir(parents=True)
        for i, image in enumerate(pixels(8, 16)):
            (d / kind / f"{i}.jpg").write_bytes(encoded(image, "JPEG"))
    (d / "cut/b/3.jpg").write_bytes((d / "cut/b/3.jpg").read_bytes()[:-60])
    for name, changed in {"tiny": {}, "foreign": {}, "bare": {"label": None}, "torn": {}}.items():
        folder = write_tfds(d / "tfds", name, changed=changed)
        if name == "foreign":
            (folder / "dataset_info.json").write_text(
                (folder / "dataset_info.json").read_text().replace("array_record", "tfrecord")
            )
        if name == "torn":
            shard = next(folder.glob("*train*00000-of*"))
            shard.write_bytes(shard.read_bytes()[:-40])
    (d / "words.png").write_text("no image either")
    (d / "page.pth").write_text("<!DOCTYPE html><title>404</title>")
    Image.new("L", (4, 4)).save(d / "fine.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(d / "deep.png")
    return d


@pytest.mark.parametrize("row", TABLE)
def test_wrong_input_is_refused_in_one_line(row, launch, place, run, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words, said = TABLE[row]
    words = words.format(d=place, run=run[0]).split(" ")
    if not any(w.startswith("--workdir") for w in words):
        words.append(f"--workdir={tmp_path / 'run'}")
    before = snapshot(place), snapshot(run[0]), sorted(ROOT.glob("runs/*"))
    refused(launch(*words), said)
    assert before == (snapshot(place), snapshot(run[0]), sorted(ROOT.glob("runs/*")))
    assert not any(tmp_path.iterdir())


def test_the_same_words_without_the_mistake_are_accepted(run):
    # Else the table above could pass for any command.
    assert run[1].code == 0 and run[1].err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.seeds=3"], "holds a run with config.seeds=2, this command has 3: choose another --workdir"),
        (
            ["--config=configs/quickstart.py:student=resnet8"],
            "holds a run of quickstart.py, this command is one of quickstart.py:student",
        ),
        (["--config=configs/digits_byol.py"], "holds a run of quickstart.py, this command is one of digits_byol.py"),
    ],
)
def test_another_run_in_the_folder_is_refused(launch, run, words, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    before = snapshot(run[0])
    tiny = TINY if "=configs" not in words[0] else ()
    refused(launch(f"--workdir={run[0]}", *tiny, *words), said)
    assert snapshot(run[0]) == before


def test_folder_without_permission_is_refused(launch, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path))  # root may write anywhere
    refused(launch(f"--workdir={tmp_path / 'locked'}"), f"--workdir={tmp_path / 'locked'} cannot be written (Permission denied)")


PREDICT = {
    "nothing": ("", "expected a run's folder and at least one image"),
    "no image": ("{run}", "expected a run's folder and at least one image"),
    "flag": ("{run} {d}/fine.png --topp=2", "--topp=2"),
    "run missing": ("{d}/none {d}/fine.png", "none holds no finished run"),
    "run foreign": ("{d}/foreign {d}/fine.png", "foreign holds no finished run"),
    "run damaged": ("{d}/damaged {d}/fine.png", "config.json is damaged"),
    "image missing": ("{run} {d}/none.png", "none.png is not there"),
    "image a text": ("{run} {d}/words.png", "words.png: cannot be decoded"),
    "image of 16 bits": ("{run} {d}/deep.png", "deep.png: has more than 8 bits a channel"),
    "one of two a text": ("{run} {d}/fine.png {d}/words.png", "words.png: cannot be decoded"),
    "folder without images": ("{run} {d}/none_inside", "none_inside holds no image: expected files that end in .bmp"),
    "top 0": ("{run} {d}/fine.png --top=0", "--top='0' is not accepted: expected a whole number, 1 or more"),
    "top word": ("{run} {d}/fine.png --top=all", "--top='all'"),
    "top above": ("{run} {d}/fine.png --top=11", "--top=11 is not accepted: expected 1 to 10"),
    "seed": ("{run} {d}/fine.png --seed=2", "--seed=2 is not accepted: the run has members 0 to 1"),
    "seed below 0": ("{run} {d}/fine.png --seed=-1", "--seed='-1'"),
    "stage": ("{run} {d}/fine.png --stage=studnet", "stage 'studnet' is not in"),
    "csv": ("{run} {d}/fine.png --csv={d}/none/x.csv", "the folder"),
    "csv a folder": ("{run} {d}/fine.png --csv={d}/foreign", "foreign"),
    "features a text": (
        "{run} {d}/fine.png --features={d}/x.txt",
        "x.txt is not accepted: expected the name of a file that ends in .npz",
    ),
    "features in no folder": ("{run} {d}/fine.png --features={d}/none/x.npz", "the folder"),
    "neighbours no picture": ("{run} {d}/fine.png --neighbours={d}/x.jpg", "expected the name of a file that ends in .png"),
    "neighbours of one": (
        "{run} {d}/fine.png --neighbours={d}/x.png --features={d}/x.npz",
        "--neighbours is not accepted: expected 2 images or more",
    ),
    "features and top": ("{run} {d}/fine.png --features={d}/x.npz --top=2", "--top is not accepted with --features"),
    "neighbours and csv": ("{run} {d}/fine.png --neighbours={d}/x.png --csv={d}/x.csv", "--csv is not accepted with --neighbours"),
}


@pytest.mark.parametrize("row", PREDICT)
def test_wrong_input_to_predict_is_refused_in_one_line(row, classify, place, run):
    words, said = PREDICT[row]
    before = snapshot(place), snapshot(run[0])
    refused(classify(*words.format(d=place, run=run[0]).split()), said)
    assert before == (snapshot(place), snapshot(run[0]))


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("main", ["--config.sedes=2"], "accepted: seeds"),
        ("main", ["--config={d}/syntax.py"], "line 2"),
        ("main", ["--workdir=/proc/nothing/run", *TINY], "--workdir=/proc/nothing/run cannot be written"),
        ("predict", ["{d}/none", "{d}/fine.png"], "holds no finished run"),
    ],
)
def test_the_programs_themselves_refuse(program, words, said, place, tmp_path):
    command = [sys.executable, ROOT / f"launch/{program}.py", *(w.format(d=place) for w in words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_the_records_say_which_config_it_was(run):
    assert json.loads((run[0] / "config.json").read_text())["file"] == "quickstart.py"
