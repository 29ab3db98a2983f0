"""What `launch/predict.py` makes of images."""

import csv
import json
import shutil

import numpy as np
import pytest
from launching import read
from PIL import Image


def test_predict_skips_broken_files_of_a_folder_and_names_them(classify, run, pictures, tmp_path):
    good = [pictures[0] / f"{i:04d}.png" for i in range(2)]
    for file in good:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken = tmp_path / "0001a.png"
    broken.write_bytes(good[0].read_bytes()[:40])
    answer = classify(run[0], tmp_path)
    assert answer.code == 0 and answer.err == f"skipped: 1 of 3 files in folders are no images that can be read ({broken})\n"
    alone = classify(run[0], *good)
    assert answer.out == alone.out.replace(str(pictures[0]), str(tmp_path))
    assert classify(run[0], tmp_path, broken).code == 2
    for file in good:
        (tmp_path / file.name).write_bytes(b"")
    answer = classify(run[0], tmp_path)
    assert answer.code == 2 and answer.err.startswith("error: none of 3 files is an image that can be read: ")


def test_predict_has_the_recorded_accuracy(classify, run, pictures, tmp_path):
    folder, labels = pictures
    answer = classify(run[0], folder, f"--csv={tmp_path / 'x.csv'}", "--seed=1")
    assert answer.code == 0 and answer.out == f"450 images written to {tmp_path / 'x.csv'}\n"
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert list(rows[0]) == ["image", "class1", "probability1"] and rows[7]["image"] == str(folder / "0007.png")
    accuracy = 100 * np.mean([int(r["class1"]) == y for r, y in zip(rows, labels, strict=True)])
    assert accuracy == pytest.approx(read(run[0], "summary.json")["results"]["student/test_accuracy"]["values"][1], abs=1e-4)


def test_predict_names_the_top_classes(classify, run, pictures):
    folder, _ = pictures
    answer = classify(run[0], "--top=10", folder / "0000.png", "--stage=teacher", folder / "0001.png")
    first, second = answer.out.splitlines()
    assert first.startswith(f"{folder / '0000.png'}: ") and second.startswith(f"{folder / '0001.png'}: ")
    found = [x.split() for x in first.split(": ")[1].split(", ")]
    assert sorted(name for name, _ in found) == list("0123456789")
    shares = [float(p.removesuffix("%")) for _, p in found]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.6)


def test_predict_takes_images_of_another_size_and_colour(classify, run, pictures, tmp_path):
    folder, _ = pictures
    with Image.open(folder / "0000.png") as image:
        image.resize((80, 80), Image.Resampling.NEAREST).convert("RGB").save(tmp_path / "large.png")
    plain, large = (
        classify(run[0], f, "--stage=teacher").out.split(": ")[1] for f in (folder / "0000.png", tmp_path / "large.png")
    )
    assert plain.split()[0] == large.split()[0]


def test_predict_turns_images_where_those_of_the_run_were(classify, run, pictures, tmp_path):
    with Image.open(pictures[0] / "0000.png") as image:
        upright, exif = np.asarray(image), Image.Exif()
    exif[274] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1))).save(tmp_path / "lying.png", exif=exif)
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1))).save(tmp_path / "untagged.png")
    turned = tmp_path / "run"
    shutil.copytree(run[0], turned, ignore=shutil.ignore_patterns("checkpoints", "plots", "export"))
    about = read(turned, "config.json")
    about["data"]["exif_orientation"] = True
    (turned / "config.json").write_text(json.dumps(about))

    def answer(folder, file):
        return classify(folder, file, "--top=10").out.partition(": ")[2]

    assert answer(turned, tmp_path / "lying.png") == answer(run[0], pictures[0] / "0000.png")
    assert answer(run[0], tmp_path / "lying.png") == answer(run[0], tmp_path / "untagged.png")
    assert answer(turned, tmp_path / "lying.png") != answer(run[0], tmp_path / "lying.png")
