"""Studies of other things than classes of images, each by its config alone: pixels, tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
from launching import call

import kdjax
from launch import report

STUDIES = Path(__file__).parent / "studies"


@pytest.fixture(scope="module")
def study(launch, tmp_path_factory):
    """`study(name, *words)`: the folder and the summary of a finished run."""

    def run(name, *words):
        folder = tmp_path_factory.mktemp(name) / "run"
        answer = launch(f"--config={STUDIES / name}.py", f"--workdir={folder}", *words)
        assert answer.code == 0, answer.err
        return folder, json.loads((folder / "summary.json").read_text())

    return run


def lines(folder, stage):
    found = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [x for x in found if x["stage"] == stage]


def table(folder):
    """The report of a run, made anew from its folder."""
    answer = call(report, str(folder))
    assert answer.code == 0, answer.err
    return answer.out


@pytest.fixture(scope="module")
def squares(study, tmp_path_factory):
    """Light squares on a dark ground: two classes of pixels."""
    random, arrays = np.random.default_rng(0), {}
    for part, size in (("train", 64), ("test", 16)):
        labels = np.zeros((size, 12, 12), np.int32)
        for label, (row, column) in zip(labels, random.integers(0, 8, (size, 2)), strict=True):
            label[row : row + 4, column : column + 4] = 1
        noise = random.integers(0, 60, (size, 12, 12))
        arrays |= {f"{part}_images": (150 * labels + noise).astype(np.uint8), f"{part}_labels": labels}
    file = tmp_path_factory.mktemp("squares") / "squares.npz"
    np.savez(file, **arrays)
    return study("segmentation", f"--config.data.source=npz:{file}")


def test_the_best_step_by_mean_iou_is_kept(squares):
    folder, summary = squares
    curve = np.array([x["val_mean_iou"] for x in lines(folder, "network")])
    assert summary["results"]["network/val_mean_iou"]["values"] == pytest.approx(curve[curve.mean(1).argmax()].tolist())
    assert min(summary["results"]["network/test_mean_iou"]["values"]) > 60
    assert summary["measures"]["mean_iou"]["unit"] == "%"


def test_pixels_have_a_report_and_plots(squares):
    folder, _ = squares
    assert "test mean iou %" in table(folder).lower() and "accuracy" not in table(folder)
    assert {"curves.png", "scores.png"} <= {p.name for p in (folder / "plots").iterdir()}


def test_labels_move_with_their_images(squares):
    net, params, stats = kdjax.load(squares[0], "network", member_number=1)
    image = np.zeros((1, 12, 12, 1), np.float32)
    image[:, 2:6, 3:7] = 0.8
    found = np.asarray(net.apply(params, stats, image, train=False)[0]["logits"]).argmax(-1)
    # With labels left behind by the images that are moved, it would hardly tell one class from the other.
    assert (found == (image[..., 0] > 0.5)).mean() > 0.9


@pytest.fixture(scope="module")
def tokens(study, tmp_path_factory):
    """Texts in which each token tells the next; the last one of a row has none."""
    random, follows, arrays = np.random.default_rng(0), np.random.default_rng(1).permutation(8), {}
    for part, size in (("train", 64), ("test", 32)):
        text = random.integers(0, 8, (size, 6))
        labels = np.where(random.random((size, 6)) < 0.9, follows[text], random.integers(0, 8, (size, 6)))
        labels[:, -1] = -1
        arrays |= {f"{part}_tokens": text.astype(np.int32), f"{part}_labels": labels.astype(np.int32)}
    file = tmp_path_factory.mktemp("text") / "text.npz"
    np.savez(file, **arrays)
    return study("tokens", f"--config.data.source=npz:{file}")


def test_tokens_are_distilled_by_kd(tokens):
    folder, summary = tokens
    found = {name: np.mean(summary["results"][f"{name}/test_perplexity"]["values"]) for name in ("teacher", "student")}
    assert found["teacher"] < 4 and found["student"] < 6, found  # 8 is chance
    assert "distillation" in lines(folder, "student")[0] and summary["measures"]["perplexity"]["better"] == "lower"
    assert "perplexity" in table(folder) and "accuracy" not in table(folder)
