"""Prototypes against the nearest class mean by scikit-learn, task by task."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from kdjax.core.check import InputError
from kdjax.data import episodes
from kdjax.evaluate import few_shot_accuracy

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.permutation(np.repeat(np.arange(7), 12))
FEATURES = (0.8 * np.eye(7)[LABELS] + RANDOM.normal(size=(84, 7)) + 100).astype(np.float32)


@pytest.mark.parametrize(("ways", "shots", "queries"), [(5, 1, 4), (3, 5, 7)])
def test_equals_the_nearest_centroid_of_every_task(ways, shots, queries):
    found = few_shot_accuracy(FEATURES, LABELS, ways=ways, shots=shots, queries=queries, episodes=40, seed=3)
    sampler, each = episodes(LABELS, way=ways, shot=shots, query=queries), []
    for task in range(40):
        learnt, asked = np.split(sampler.rows(3, task), [ways * shots])
        classes = np.unique(LABELS[learnt])
        means = np.stack([FEATURES[[row for row in learnt if LABELS[row] == c]].astype(float).mean(0) for c in classes])
        model = KNeighborsClassifier(1).fit(means, classes)
        each.append(model.score(FEATURES[asked].astype(float), LABELS[asked]))
    half = 1.96 * np.std(each) / np.sqrt(40)
    np.testing.assert_allclose(found, [np.mean(each), np.mean(each) - half, np.mean(each) + half], atol=1e-6)


def test_features_that_know_nothing_are_right_by_chance_and_seeds_differ():
    labels, options = np.arange(2800) % 7, {"episodes": 300, "queries": 7}
    blind = RANDOM.normal(size=(2800, 7)).astype(np.float32)
    found = few_shot_accuracy(blind, labels, **options)
    assert found.low < 0.2 < found.high and found.high - found.low < 0.03
    assert found == few_shot_accuracy(blind, labels, **options)
    assert found != few_shot_accuracy(blind, labels, seed=1, **options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ways": 8}, "ways=8 is not accepted: expected 2 to 7, the classes of the set"),
        ({"shots": 0}, "shots=0"),
        ({"queries": 0}, "queries=0"),
        ({"episodes": 1}, "episodes=1"),
        ({}, r"shots=5 is not accepted with queries=15: class 0 has 12 rows, and a task takes 20"),
    ],
)
def test_refusals(options, line):
    with pytest.raises(InputError, match=line):
        few_shot_accuracy(FEATURES, LABELS, **options)
