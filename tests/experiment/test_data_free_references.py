"""Students that see data, for the table of those that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import data_free_benchmark
from kdjax.core import InputError
from kdjax.experiment.data_free_references import noise


@pytest.fixture
def config():
    found = data_free_benchmark.get_config("methods=dfad/dfq/deep_inversion")
    found.student_training.net.widths = found.teacher_training.net.widths = (4,)
    found.student_training.epochs = 4
    return found


def test_all_students_take_as_many_steps(config):
    stages = data_free_benchmark.build(config).stages
    assert list(stages) == ["teacher", "student_alone", "with_data", "noise", "deep_inversion", "dfad", "dfq"]
    assert stages["dfad"].steps * 5 == stages["dfq"].steps * 10 == stages["with_data"].steps == 4 * 50
    own = config.methods.deep_inversion
    assert stages["deep_inversion"].steps == 4 * (own.synthesis_steps + own.student_steps) and own.student_steps == 50


def test_they_are_held_against_the_one_on_noise(config):
    compare = data_free_benchmark.build(config).compare
    assert compare == tuple((f"{name}/test_accuracy", "noise/test_accuracy") for name in ("deep_inversion", "dfad", "dfq"))


def test_images_of_another_set_are_an_option(config, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(200, 256, (40, 12, 12, 3)).astype(np.uint8)  # brighter than any digit
    parts = {"train_images": images, "train_labels": np.arange(40) % 10, "test_images": images, "test_labels": np.arange(40) % 10}
    np.savez(tmp_path / "other.npz", **parts)
    config.references, config.other = ("other_images",), f"npz:{tmp_path / 'other.npz'}"
    stage = data_free_benchmark.build(config).stages["other_images"]
    seen = stage.source.read(np.arange(2))["image"]
    assert seen.shape == (2, 8, 8, 1) and seen.min() >= 200
    config.other = "npz:nowhere.npz"
    with pytest.raises(InputError, match=r"^--config.other: .*nowhere.npz"):
        data_free_benchmark.build(config)


def test_an_unknown_reference_is_refused(config):
    config.references = ("data",)
    with pytest.raises(InputError, match=r"references=\('data',\) is not accepted: expected some of student_alone, with"):
        data_free_benchmark.build(config)


def test_noise_has_the_mean_and_deviation_of_the_data():
    batch = {"image": jnp.zeros((64, 16, 16, 2)), "label": jnp.arange(64), "index": jnp.arange(64)}
    found = noise((0.4, 0.6), (0.05, 0.1))(jax.random.split(jax.random.key(0), 64), batch)
    np.testing.assert_allclose(found["image"].mean((0, 1, 2)), [0.4, 0.6], atol=2e-3)
    np.testing.assert_allclose(found["image"].std((0, 1, 2)), [0.05, 0.1], rtol=0.02)
    assert found["label"] is batch["label"]
    wide = noise((0.5, 0.5), (9.0, 9.0))(jax.random.split(jax.random.key(0), 64), batch)["image"]
    assert float(wide.min()) == 0.0 and float(wide.max()) == 1.0
