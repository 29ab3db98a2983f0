"""launch/sample.py on a run of a generator that knows classes and of one that fills a pool without a generator."""

from pathlib import Path

import numpy as np
import pytest
from launching import call, refused
from PIL import Image

from kdjax import data, load
from kdjax.train.load import read_samples
from launch import main, sample

ROOT = Path(__file__).parents[2]
METHODS = ("cgdd", "deep_inversion")  # in the order of their stages
WORDS = (
    f"--config={ROOT / 'configs/data_free_benchmark.py'}:methods={'/'.join(METHODS)}", "--config.references=()", "--config.seeds=2",
    "--config.devices=1", "--config.data.batch=16", "--config.teacher_training.net.widths=(4,)", "--config.generator.features=2",
    "--config.student_training.net.widths=(4,)", "--config.teacher_training.epochs=1", "--config.student_training.epochs=1",
    "--config.student_steps_per_epoch=4", "--config.evaluate_epochs=1", "--config.save_epochs=1",
    "--config.methods.cgdd.student_steps=2", "--config.methods.cgdd.latent=4", "--config.methods.deep_inversion.pool=24",
    "--config.methods.deep_inversion.synthesis_steps=2", "--config.methods.deep_inversion.student_steps=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "run"
    answer = call(main, f"--workdir={folder}", *WORDS)
    assert (answer.code, answer.err) == (0, ""), answer
    return folder


def sampled(run, out, *words, stage="cgdd"):
    answer = call(sample, run, f"--stage={stage}", f"--out={out}", *words)
    assert (answer.code, answer.err) == (0, ""), answer
    return answer.out


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_an_npz_file_is_a_set_to_train_on(run, tmp_path):
    out = tmp_path / "made.npz"
    assert "50 images of 8 x 8 x 1 written to" in sampled(run, out, "--count=50")
    found = data.load(f"npz:{out}")
    parts = [part.read(np.arange(part.size)) for part in (found.train, found.test)]
    assert [len(x["image"]) for x in parts] == [40, 10] and len(found.names) == 10
    assert np.concatenate([x["label"] for x in parts]).tolist() == [i % 10 for i in range(50)]
    net, params, stats = load(run, "cgdd", network="generator")
    label = np.arange(50) % 10
    z = np.stack([sample._latent(i, 4) for i in range(50)])
    wanted = net.apply(params, stats, {"latent": z, "label": label}, train=False)[0]["image"]
    np.testing.assert_allclose(np.concatenate([x["image"] for x in parts]) / 255, wanted, atol=0.51 / 255)


def test_a_folder_has_a_folder_for_each_class(run, tmp_path):
    sampled(run, f"{tmp_path / 'made'}/", "--count=20")
    sampled(run, tmp_path / "made.npz", "--count=20")
    found = data.load(f"folder:{tmp_path / 'made'}", image_size=8)
    assert found.names == tuple("0123456789") and len(list((tmp_path / "made").rglob("*.png"))) == 20
    with np.load(tmp_path / "made.npz") as arrays:
        np.testing.assert_array_equal(pixels(tmp_path / "made/3/0003.png"), arrays["train_images"][3, ..., 0])
    assert {p.name for p in tmp_path.iterdir()} == {"made", "made.npz"}


def test_one_class_alone(run, tmp_path):
    sampled(run, f"{tmp_path / 'three'}/", "--count=4", "--class=3")
    sampled(run, tmp_path / "three.npz", "--count=4", "--class=3")
    sampled(run, tmp_path / "all.npz", "--count=20")
    with np.load(tmp_path / "three.npz") as three, np.load(tmp_path / "all.npz") as every:
        assert three.files == ["train_images"]
        found, all_classes = three["train_images"], every["train_images"]
    np.testing.assert_array_equal(found[3], all_classes[3])  # the same latent asked for the same class
    assert (found[:3] != all_classes[:3]).any()
    assert sorted(p.name for p in (tmp_path / "three/3").iterdir()) == [f"000{i}.png" for i in range(4)]


def test_a_grid_has_a_row_a_class(run, tmp_path):
    sampled(run, tmp_path / "grid.png", "--count=23")
    sampled(run, tmp_path / "all.npz", "--count=23")
    grid = pixels(tmp_path / "grid.png")
    zoom = grid.shape[0] // 100
    assert grid.shape == (100 * zoom, 20 * zoom)  # two columns; a border of a pixel around each image
    with np.load(tmp_path / "all.npz") as every:
        made = every["train_images"]
    np.testing.assert_array_equal(grid[::zoom, ::zoom][31:39, 11:19], made[13, ..., 0])


def test_rows_from_one_latent_to_another(run, tmp_path):
    out = tmp_path / "way.npz"
    assert "15 images" in sampled(run, out, "--class=2", "--count=3", "--interpolate=5")
    sampled(run, tmp_path / "ends.npz", "--class=2", "--count=6")
    with np.load(out) as way, np.load(tmp_path / "ends.npz") as ends:
        rows, wanted = way["train_images"].reshape(3, 5, 8, 8), ends["train_images"].reshape(3, 2, 8, 8)
    np.testing.assert_allclose(rows[:, [0, -1]].astype(int), wanted.astype(int), atol=1)
    steps = np.abs(np.diff(rows.astype(float), axis=1)).mean((2, 3))
    assert (steps > 0).all() and (steps < np.abs(np.subtract(*wanted.swapaxes(0, 1).astype(float))).mean((1, 2))[:, None]).all()
    sampled(run, tmp_path / "way.png", "--interpolate=4")
    grid = pixels(tmp_path / "way.png")
    assert grid.shape[0] == 2 * grid.shape[1]  # eight rows of four


def test_pictures_of_the_run_have_a_row_for_each_class_that_is_asked_for(run):
    assert pixels(run / "plots/cgdd_images.png").shape == (500 + 32, 400)  # eight columns, five times as large, below a title
    assert pixels(run / "plots/deep_inversion_images.png").shape == (480 + 32, 480)
    assert read_samples(run, "cgdd").shape == (80, 8, 8, 1) and read_samples(run, "teacher") is None


def test_a_stage_without_a_generator_shows_what_it_kept(run, tmp_path):
    said = sampled(run, tmp_path / "kept.npz", "--count=9", stage="deep_inversion")
    assert "9 images of 8 x 8 x 1, kept by the run" in said
    with np.load(tmp_path / "kept.npz") as kept:
        assert kept["train_images"].shape == (9, 8, 8, 1)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--stage=cgdd", "--class=10"), "--class='10' is not accepted: expected a whole number, 0 to 9"),
        (("--stage=cgdd", "--interpolate=1"), "--interpolate='1' is not accepted: expected a whole number, 2 or more"),
        (("--stage=cgdd", "--out=a.npz", "--count=10"), "--count=10 is not accepted: of 10 classes an npz file holds 12 images or"),
        (("--stage=cgdd", "--out=there/"), "there holds files: expected a folder that is not there, or is empty"),
        (("--stage=cgdd", "--out=not/there/"), "not/there cannot be written: the folder"),
        (("--stage=teacher",), "holds no generator in its stage 'teacher': it holds"),
        (("--count=65",), "--count=65 is not accepted: "),
        (("--class=1",), "--class=1 is not accepted: "),
        (("--seed=1",), "--seed=1 is not accepted: "),
    ],
)
def test_what_is_refused(run, words, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/x").touch()
    refused(call(sample, run, *words), line)
    assert [str(p) for p in Path().rglob("*")] == ["there", "there/x"]
