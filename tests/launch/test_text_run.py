"""A language model that teaches another one, through the launcher."""

import json

import jax
import numpy as np
from launching import launched

from kdjax import load, losses


def test_a_text_is_learnt_from_a_teacher(tmp_path):
    start = np.random.default_rng(0).integers(0, 7, (80, 1))
    text = (start + 3 * np.arange(9)) % 7  # what comes next follows from what is there
    tokens, labels = text[:, :-1], text[:, 1:]
    np.savez(
        tmp_path / "text.npz", train_tokens=tokens[:64], train_labels=labels[:64], test_tokens=tokens[64:], test_labels=labels[64:]
    )  # fmt: skip
    sizes = [f"--config.{who}_training.{field}" for who in ("teacher", "student") for field in ("net.width=8", "net.depth=1")]
    said = launched(
        tmp_path / "run", "--config=configs/text.py", f"--config.data.source=npz:{tmp_path / 'text.npz'}", "--config.data.batch=16",
        "--config.devices=1", "--config.seeds=1", "--config.evaluate_epochs=30", "--config.save_epochs=30",
        "--config.teacher_training.epochs=30", "--config.student_training.epochs=30", *sizes,
        "--config.teacher_training.net.heads=2", "--config.student_training.net.heads=2",
    )  # fmt: skip
    assert "kept in" in said
    results = json.loads((tmp_path / "run/summary.json").read_text())["results"]
    assert results["teacher/test_accuracy"]["mean"] > 90 and results["student/test_accuracy"]["mean"] > 90
    assert results["student/test_agreement"]["mean"] > 90
    assert "texts of 8 tokens" in (tmp_path / "run/export/student/README.md").read_text()

    net, params, stats = load(str(tmp_path / "run"), "student")
    taps, _ = net.apply(params, stats, tokens[64:].astype(np.int32), train=False)
    nll = float(losses.cross_entropy(taps["logits"], labels[64:]).mean())
    assert jax.numpy.isclose(nll, results["student/test_nll"]["values"][0], rtol=1e-4)
