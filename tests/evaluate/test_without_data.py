"""What is measured of students that learn without data."""

import numpy as np
import pytest

from kdjax import evaluate
from kdjax.evaluate.without_data import without_data

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 4


class Collect:
    """Two members, whose students are right three times in four, and half of the time where their teacher is."""

    def __init__(self, look):
        self.look = look

    def __call__(self, split, *taps, given=False, columns=()):
        right = np.eye(4)[LABELS]
        student = np.where((np.arange(40) % 8 < 6)[:, None], right, np.roll(right, 1, 1))
        outputs = {"student": {"logits": np.stack([student] * 2)}}
        if given:
            outputs["teacher"] = {"logits": np.stack([right] * 2), "pooled": np.stack([FEATURES] * 2)}
        found = {"label": LABELS, "index": np.arange(40), "image": IMAGES}
        return outputs, {name: found[name] for name in ("label", "index", *columns)}

    def state(self, f):
        return f(None)


FEATURES, IMAGES = RNG.normal(size=(40, 3)), (255 * RNG.uniform(size=(40, 2, 2, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def seen():
    logits = np.eye(4)[np.arange(12) % 2]  # of two classes of four
    image = RNG.uniform(size=(12, 2, 2, 1))
    image[1], image[3] = image[0] + 0.009, image[2] + 0.011  # in each number: a double within 0.01, and none
    both = lambda x: np.stack([x, x])  # noqa: E731
    found = {"image": both(image), "logits": both(logits), "student_logits": both(np.roll(logits, 6, 0))}
    return found | {"features": both(RNG.normal(size=(12, 3))), "batch_norm": np.array([1.0, 2.0])}


def test_on_the_way_the_images_are_watched(seen):
    measures = without_data(lambda state: seen)(Collect(None), "test", False)
    np.testing.assert_allclose(measures["accuracy"], 75.0)
    np.testing.assert_allclose(measures["class_entropy"], np.log(2), rtol=1e-6)
    assert measures["batch_norm_distance"].tolist() == [1.0, 2.0] and measures["synthetic_agreement"].tolist() == [100.0] * 2
    assert "fid" not in measures


def test_at_the_end_they_are_held_against_real_ones(seen):
    measures = without_data(lambda state: seen)(Collect(None), "test", True)
    np.testing.assert_allclose(measures["relative_accuracy"], 75.0)
    np.testing.assert_allclose(measures["duplicates"], 100 * 2 / 12)
    np.testing.assert_allclose(measures["fid"], evaluate.frechet_distance(seen["features"][0], FEATURES), rtol=1e-6)
    apart = evaluate.nearest_real(seen["image"][0], IMAGES / 255)[0].mean()
    np.testing.assert_allclose(measures["nearest_real"], apart, rtol=1e-5)
    assert {"kid", "precision", "recall", "diversity"} <= set(measures)
    assert all(evaluate.measure_of(name) for name in measures)


def test_at_the_end_they_are_seen_by_inception_too(seen):
    shades = lambda images: np.stack([images.mean((1, 2, 3)), images.max((1, 2, 3))], 1)  # noqa: E731
    on_the_way, at_the_end = (without_data(lambda state: seen, shades)(Collect(None), "test", final) for final in (False, True))
    assert "inception_fid" not in on_the_way
    for name, distance in {"inception_fid": evaluate.frechet_distance, "inception_kid": evaluate.kernel_distance}.items():
        np.testing.assert_allclose(at_the_end[name], distance(shades(seen["image"][0]), shades(IMAGES / 255)), rtol=1e-6)
    assert at_the_end["fid"][0] != at_the_end["inception_fid"][0] and evaluate.measure_of("test_inception_fid").name == "fid"


def test_a_teacher_without_features_or_batch_norm(seen):
    bare = {name: x for name, x in seen.items() if name in ("image", "logits", "student_logits")}
    measures = without_data(lambda state: bare)(Collect(None), "test", True)
    assert not {"fid", "batch_norm_distance"} & set(measures)
