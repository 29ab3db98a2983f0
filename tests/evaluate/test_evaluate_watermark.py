"""What is measured of a mark, on logits made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from collected import collected

from kdjax import losses
from kdjax.core import InputError
from kdjax.evaluate.watermark import (
    accuracy_of_pair,
    chance_of_key,
    detection_rates,
    detector_inputs,
    marks,
    watermark_key,
)

RNG = np.random.default_rng(0)
KEYS = [watermark_key(seed, 6) for seed in range(100)]


def test_a_key_is_a_distribution_over_the_other_classes():
    for shared in (False, True):
        key = watermark_key(3, 7, shared=shared)
        np.testing.assert_allclose(key.sum(1), 1, rtol=1e-6)
        assert (np.diag(key) == 0).all() and np.array_equal(key, watermark_key(3, 7, shared=shared))
        profiles = [np.roll(row, -c)[1:] for c, row in enumerate(key)]
        assert all(np.array_equal(profiles[0], one) for one in profiles) == shared
    assert not np.array_equal(KEYS[0], KEYS[1])


def test_a_detector_sees_scaled_logarithms_and_the_largest_class():
    z = RNG.normal(size=(5, 6)).astype(np.float32) * 3
    p = np.exp(np.float64(z)) / np.exp(np.float64(z)).sum(-1, keepdims=True)
    said = np.log(p + 1e-8)
    wanted = (said - said.mean(-1, keepdims=True)) / said.std(-1, keepdims=True)
    found = np.asarray(detector_inputs(jnp.asarray(z)))
    np.testing.assert_allclose(found[:, :6], wanted, atol=1e-4)
    np.testing.assert_array_equal(found[:, 6:], np.eye(6)[z.argmax(-1)])


def test_a_key_that_was_learnt_is_found_and_others_are_not():
    """Of logits that know no key, the chance is uniform over keys."""
    labels = jnp.asarray(RNG.integers(0, 6, 60))
    told = jnp.log(losses.keyed_labels(labels, jnp.asarray(KEYS[0]), epsilon=0.2) + 1e-4)
    score, p = chance_of_key(told, KEYS[0], KEYS[1:])
    assert score > 0.9 and p == pytest.approx(0.01)
    plain = jnp.asarray(RNG.normal(size=(60, 6)), jnp.float32)
    chances = [chance_of_key(plain, key, KEYS[20:])[1] for key in KEYS[:20]]
    assert 0.25 < np.mean(chances) < 0.75 and min(chances) < 0.35 and max(chances) > 0.65
    mean = np.mean(losses.watermark_score(plain, jnp.asarray(KEYS[3])))
    np.testing.assert_allclose(chance_of_key(plain, KEYS[3], KEYS[20:])[0], mean, rtol=1e-5)


def test_curves_are_those_of_counting():
    positive, negative = RNG.integers(0, 9, 30) / 1.0, RNG.integers(0, 7, 40) / 1.0
    for rate, share in zip((0.0, 0.1, 0.5, 1.0), detection_rates(positive, negative, (0.0, 0.1, 0.5, 1.0)), strict=True):
        allowed = [np.mean(positive > t) for t in [-1.0, *negative] if np.mean(negative > t) <= rate]
        assert share == pytest.approx(max(allowed) if rate < 1 else 1.0)


def test_pairs_are_measured_each():
    labels = np.arange(12) % 6
    right = 5 * np.eye(6, dtype=np.float32)[labels]
    half = np.where(np.arange(12)[:, None] < 6, right, np.roll(right, 1, axis=1))
    taps = {"teacher0/logits": np.stack([right, half]), "teacher1/logits": np.stack([half, half])}
    found = accuracy_of_pair(collected({"test": {"network": taps}}), "test", True)
    assert {name: values.tolist() for name, values in found.items()} == {"accuracy": [100, 50], "clean_accuracy": [50, 50]}


def test_marks_tell_the_marked_from_the_clean():
    labels = np.arange(12) % 6
    marked = np.log(np.asarray(losses.keyed_labels(jnp.asarray(labels), jnp.asarray(KEYS[0]), epsilon=0.2)) + 1e-4)
    clean = marked[:, RNG.permutation(6)][np.arange(12)]
    logits = np.stack([np.stack([marked, clean], 1), np.stack([clean, clean], 1)], 1)[None]  # the second way lost the mark
    told = np.stack([np.stack([np.ones(12), -np.ones(12)], 1), np.ones((12, 2))], 1)[None]
    collect = collected({"test": {"detector": {"logits": np.float32(logits), "told": np.float32(told)}}})
    measure = marks(("before", "lost"), KEYS[0], KEYS[1:40], (0.0, 0.05))
    found = measure(collect, "test", True)
    one = {name: values.item() for name, values in found.items()}
    assert one["accuracy"] == one["before_detector_accuracy"] == 100 and one["lost_detector_accuracy"] == 50
    assert one["before_accuracy"] == 100 and one["before_score"] > 0.9 and one["before_chance"] == pytest.approx(1 / 40)
    assert one["before_auroc"] > 90 and one["lost_auroc"] == 50 and one["lost_score"] == one["lost_clean_score"]
    assert one["before_detector_auroc"] == one["before_detector_found_at_0"] == 100 and one["lost_detector_auroc"] == 50
    assert one["before_shown_at_5"] >= one["before_shown_at_0"] > one["lost_shown_at_0"] == 0
    assert set(measure(collect, "test", False)) == {"accuracy"}


def test_refusals():
    with pytest.raises(InputError, match="classes=2 is not accepted: expected 3 or more"):
        watermark_key(0, 2)
    with pytest.raises(InputError, match="concentration=0 is not accepted"):
        watermark_key(0, 4, concentration=0)
    with pytest.raises(InputError, match="others=0 is not accepted"):
        chance_of_key(jnp.ones((2, 6)), KEYS[0], [])
