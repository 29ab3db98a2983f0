"""A text classifier that starts from hidden bytes, fine-tuned in four ways, through the launcher."""

import numpy as np
from launching import launched, read


def test_texts_are_told_after_masked_training(tmp_path):
    random, arrays = np.random.default_rng(0), {}
    for part, size in (("train", 96), ("test", 32)):
        labels = np.arange(size) % 2
        tokens = random.integers(0, 8, (size, 8)) + 4 * labels[:, None]  # half of the tokens are of one class alone
        arrays |= {f"{part}_tokens": tokens, f"{part}_labels": labels}
    np.savez(tmp_path / "texts.npz", **arrays)
    sizes = [f"--config.{net}.{size}" for net in ("net", "wider_net") for size in ("width=8", "depth=1", "heads=2")]
    launched(
        tmp_path / "run", "--config=configs/swa.py:task=text", f"--config.data.source=npz:{tmp_path / 'texts.npz'}",
        "--config.data.batch=16", "--config.devices=1", "--config.seeds=1", "--config.per_class=24", "--config.learning.epochs=2",
        "--config.tuning.epochs=30", "--config.evaluate_epochs=30", "--config.save_epochs=30", "--config.data.val_fraction=0",
        *sizes,
    )  # fmt: skip
    results = read(tmp_path / "run", "summary.json")["results"]
    tuned = ("decayed", "constant", "swa", "distilled")
    assert all(results[f"{name}/test_accuracy"]["mean"] > 75 for name in tuned), results
    assert "source/test_accuracy" not in results
