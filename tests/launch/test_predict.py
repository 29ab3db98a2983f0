"""What `launch/predict.py` makes of images."""

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import read
from PIL import Image

from kdjax import models
from kdjax.core import Net
from launch.run.image_files import Images, Opened


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


@pytest.fixture
def encoder(tmp_path):
    """A folder with the file of an encoder and with images; their pixels and their features."""
    specification = {"name": "conv_net", "widths": [2], "classes": 0}
    net = models.build(specification)
    params, stats = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    about = {"names": "[]", "shape": "[8, 8, 1]", "crop": "0"}
    models.write_weights(tmp_path / "x.safetensors", params, stats, specification, about=about)
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8)).astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02d}.png")
    wanted = net.apply(params, stats, pixels[..., None] / np.float32(255), train=False)[0]["pooled"]
    return tmp_path, pixels, np.asarray(wanted)


def test_features_are_those_of_the_network_with_the_names_of_their_images(classify, encoder):
    folder, _, wanted = encoder
    (folder / "photos" / "15b.png").write_bytes(b"broken")
    answer = classify(folder / "x.safetensors", folder / "photos", f"--features={folder / 'x.npz'}")
    assert answer.out == f"features of 20 images, 2 numbers each, written to {folder / 'x.npz'}\n"
    assert "skipped: 1 of 21 files" in answer.err and answer.code == 0
    with np.load(folder / "x.npz", allow_pickle=False) as found:
        assert found["features"].dtype == np.float32
        np.testing.assert_allclose(found["features"], wanted, rtol=1e-5, atol=1e-6)
        assert found["images"].tolist() == [str(folder / "photos" / f"{number:02d}.png") for number in range(20)]


@pytest.mark.parametrize("count", [20, 3])
def test_each_row_of_the_picture_is_an_image_and_its_nearest(classify, encoder, monkeypatch, count):
    folder, pixels, wanted = encoder
    pixels, wanted = pixels[:count], wanted[:count]
    drawn = []
    monkeypatch.setattr("launch.predict.grid", lambda path, images, title: drawn.append((images, title)))
    answer = classify(folder / "x.safetensors", *sorted((folder / "photos").iterdir())[:count], f"--neighbours={folder / 'x.png'}")
    assert (answer.code, answer.out) == (0, f"nearest neighbours drawn in {folder / 'x.png'}\n")
    ((images, title),) = drawn
    side = min(count, 8)
    assert images.shape == (side * side, 8, 8, 1) and "nearest by cosine" in title
    number_of = {image.tobytes(): number for number, image in enumerate(pixels)}
    shown = np.array([number_of[np.round(image * 255).astype(np.uint8).tobytes()] for image in images]).reshape(side, side)
    assert shown[0, 0] == 0 and shown[-1, 0] == count - 1
    unit = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    for query, *others in shown:
        near = unit @ unit[query]
        assert query not in others and len(set(others)) == side - 1
        rest = [row for row in range(count) if row not in (query, *others)]
        assert not rest or min(near[others]) >= max(near[rest]) - 1e-6
        assert (np.diff(near[others]) <= 1e-6).all()


def test_the_picture_is_written(classify, encoder):
    folder, _, _ = encoder
    classify(folder / "x.safetensors", folder / "photos", f"--neighbours={folder / 'x.png'}")
    with Image.open(folder / "x.png") as image:
        assert image.size[0] >= 400 and len(image.convert("RGB").getcolors(10**6)) > 100


def test_a_network_without_pooled_features_is_refused(classify, encoder, monkeypatch):
    folder, _, _ = encoder
    bare = Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({"map": x}, stats))
    found = Opened(folder, bare, {}, {}, Images([], (8, 8, 1), 0, False))
    monkeypatch.setattr("launch.predict.opened", lambda *_: found)
    answer = classify(folder / "x.safetensors", folder / "photos", f"--features={folder / 'x.npz'}")
    assert answer.code == 2 and "without the tap 'pooled', from which features are read" in answer.err
    assert not (folder / "x.npz").exists()
