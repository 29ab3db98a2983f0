"""What is measured of encoders, on features made by hand."""

import numpy as np
import pytest
from collected import LABELS, collected

from kdjax import evaluate
from kdjax.core import InputError
from kdjax.data import Dataset, array_source, few_labels, label_fraction
from kdjax.evaluate import linear_probe, measure_of
from kdjax.evaluate.encoder import COLLAPSE, check_representation, probed_rows, representation

HEALTH = {"rank_me", "feature_spread", "uniformity"}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("final", [False, True])
def test_representation(final):
    good, bad = np.eye(6)[LABELS] + 0.01 * RNG.normal(size=(12, 6)), np.repeat(RNG.normal(size=(6, 6)), 2, axis=0)
    features = np.stack([good, bad]).astype(np.float32)  # in the second, rows of different classes are the same
    back = features[:, ::-1]
    splits = {"train": {"encoder": {"pooled": features}}, "test": {"encoder": {"pooled": back, "logits": back}}}
    collect = collected(splits)

    def reversed_labels(split, *taps, given=False):
        outputs, columns = collect(split, *taps, given=given)
        return outputs, {"label": columns["label"][::-1]} if split == "test" else columns

    found = representation(per_class=2, draws=2, neighbours=1)(reversed_labels, "test", final)
    names = {"knn_accuracy", *HEALTH, "online_probe_accuracy"} | ({"probe_accuracy", "probe_ece"} if final else set())
    assert set(found) == names and all(np.shape(v) == (2,) for v in found.values())
    assert found["knn_accuracy"][0] == 100 > found["knn_accuracy"][1]
    for name in HEALTH:
        np.testing.assert_allclose(found[name], [getattr(evaluate, name)(x) for x in features], rtol=1e-5)
    assert found["online_probe_accuracy"][0] == 100 > found["online_probe_accuracy"][1]
    if final:
        assert found["probe_accuracy"][0] == 100 > found["probe_accuracy"][1]


def test_alarms_are_of_features_that_have_collapsed():
    """Onto a point, and onto a line; features that are never negative have not."""
    noise = RNG.normal(size=(12, 6)).astype(np.float32)
    healthy, point, line = np.abs(noise) + 1, 1 + 0.01 * noise, noise[:, :1] * np.ones((1, 6), np.float32)
    splits = {split: {"encoder": {"pooled": np.stack([healthy, point, line])}} for split in ("train", "test")}
    found = representation(neighbours=1)(collected(splits), "test", False)
    assert {alarm.measure for alarm in COLLAPSE} - set(found) == {"embedding_spread"}  # which is measured in the step
    low = {alarm.measure: (found[alarm.measure] < alarm.least).tolist() for alarm in COLLAPSE if alarm.measure in found}
    assert low == {"rank_me": [False, True, True], "feature_spread": [False, True, False]}


def test_raw_pixels_are_probed_as_a_floor():
    """Images that tell the classes apart for features that do not."""
    source = array_source((np.eye(6, dtype=np.uint8) * 255)[LABELS].reshape(12, 2, 3, 1), LABELS)
    images = Dataset(source, None, source, 6, (2, 3, 1), tuple("abcdef"), "")
    blind = {"encoder": {"pooled": np.repeat(RNG.normal(size=(2, 6, 6)), 2, axis=1).astype(np.float32)}}
    measure = representation(per_class=2, draws=1, neighbours=1, images=images)
    found = measure(collected({"test": blind, "train": blind}), "test", True)
    assert found["pixels_probe_accuracy"].tolist() == [100, 100] and (found["probe_accuracy"] < 60).all()
    assert "pixels_probe_accuracy" not in measure(collected({"test": blind, "train": blind}), "test", False)


@pytest.mark.parametrize(("solver", "fixed", "draws"), [("lbfgs", {"c": 1.0}, 1), ("sgd", {"rates": (0.2,)}, 2)])
def test_probes_on_parts_of_the_labels_and_how_well_they_are_calibrated(solver, fixed, draws):
    """Of three classes with 20 rows each; a twentieth is one row a class, which leaves nothing to choose by."""
    labels = np.arange(60) % 3
    features = (1.5 * np.eye(3)[labels] + RNG.normal(size=(1, 60, 3))).astype(np.float32)
    images = array_source((50 * features[0].clip(0, 5)).astype(np.uint8).reshape(60, 1, 3, 1), labels)
    dataset = Dataset(images, None, images, 3, (1, 3, 1), tuple("abc"), "")
    test = features[:, ::-1]

    def collect(split, *taps):
        return {"encoder": {"pooled": features if split == "train" else test}}, {
            "label": labels if split == "train" else labels[::-1]
        }

    measure = representation(per_class=4, draws=draws, fractions=(0.05, 0.25, 1), solver=solver, neighbours=3, images=dataset)
    found = measure(collect, "test", True)
    parts = {"probe": few_labels, "probe_5_percent": 0.05, "probe_25_percent": 0.25, "probe_100_percent": 1.0}
    for name, part in parts.items():
        assert measure_of(f"test_{name}_accuracy").unit == measure_of(f"test_{name}_ece").unit == "%"
        each = []
        for seed in range(draws):
            rows = few_labels(labels, 4, seed) if part is few_labels else label_fraction(labels, part, seed)
            options = {"solver": solver} | (fixed if part == 0.05 else {})
            each.append(linear_probe(features[0][rows], labels[rows], test[0], labels[::-1], **options))
        for what in ("accuracy", "ece"):
            assert found[f"{name}_{what}"] == pytest.approx(100 * np.mean([one[what] for one in each]))
    pixels = images.read(np.arange(60))["image"].reshape(60, 3) / 255.0
    floor = 100 * linear_probe(pixels, labels, pixels, labels, solver=solver)["accuracy"]
    assert found["pixels_probe_100_percent_accuracy"].tolist() == [floor]
    assert not [name for name in measure(collect, "test", False) if name.startswith("p")]


def test_few_shot_tasks_are_of_what_is_evaluated():
    features = RNG.normal(size=(2, 12, 3)).astype(np.float32)
    splits = {"train": {"encoder": {"pooled": 0 * features}}, "test": {"encoder": {"pooled": features}}}
    tasks = {"ways": 3, "shots": 1, "queries": 1, "episodes": 20}
    measure = representation(per_class=1, draws=1, neighbours=1, **tasks)
    found = measure(collected(splits), "test", True)
    wanted = [evaluate.few_shot_accuracy(x, LABELS, **tasks) for x in features]
    np.testing.assert_allclose(found["few_shot_accuracy"], [100 * one.mean for one in wanted])
    np.testing.assert_allclose(found["few_shot_half_interval"], [50 * (one.high - one.low) for one in wanted])
    assert measure_of("test_few_shot_half_interval").unit == "points"
    assert "few_shot_accuracy" not in measure(collected(splits), "test", False)


def test_a_network_without_pooled_features_is_refused():
    splits = {split: {"online": {"map": np.ones((1, 12, 2, 2, 3))}} for split in ("train", "test")}
    with pytest.raises(InputError, match="network 'online' has no tap 'pooled', which is what a probe sees"):
        representation()(collected(splits), "test", False)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"per_class": 3}, "per_class=3 is not accepted: class 0 has 2 examples"),
        ({"fractions": (1.0, 0.01)}, "fraction=0.01 is not accepted: of the 2 examples of class 0 it is less than one"),
        ({"neighbours": 13}, "neighbours=13 is not accepted: expected 1 to 12, the labelled images"),
        ({"episodes": 600}, "shots=5 is not accepted with queries=15: class 0 has 3 rows"),
    ],
)
def test_options_that_do_not_fit_the_labels_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        check_representation(LABELS, np.arange(18) % 6, **({"per_class": 2, "neighbours": 1} | options))
    fine = {"per_class": 2, "neighbours": 12, "fractions": (0.5,), "draws": 3, "episodes": 2, "shots": 1, "queries": 2}
    check_representation(LABELS, np.arange(18) % 6, **fine)


def test_what_a_probe_learns_from_and_is_scored_on():
    half, none = np.where(np.arange(12) % 4 < 2, LABELS, -1), np.full(12, -1)
    assert [x.tolist() for x in probed_rows(LABELS, half)[:2]] == [list(range(12)), [0, 1, 4, 5, 8, 9]]
    assert [x.tolist() for x in probed_rows(half, LABELS)[:2]] == [[0, 1, 4, 5, 8, 9], list(range(12))]
    parted = probed_rows(none, LABELS)
    assert parted.halved and sorted([*parted.known, *parted.scored]) == list(range(12))
    assert sorted(LABELS[parted.known]) == sorted(LABELS[parted.scored]) == list(range(6))
    for train, test in ((none, none), (0 * LABELS, 0 * LABELS), (LABELS, none), (none, np.arange(12)), (none, 0 * LABELS)):
        assert probed_rows(train, test) is None


def test_representation_where_few_images_have_labels():
    """A probe that learns from rows without a label, or is scored on the rows it learns from, has other accuracies."""
    classes = LABELS % 3
    features = (np.eye(3)[classes] + 0.01 * RNG.normal(size=(1, 12, 3))).astype(np.float32)
    wrong = np.roll(features, 1, axis=-1)
    pixels = array_source((np.eye(3, dtype=np.uint8) * 255)[classes].reshape(12, 1, 3, 1), classes)
    hidden = pixels._replace(read=None, labels=lambda: np.full(12, -1))
    images = Dataset(hidden, None, pixels, 3, (1, 3, 1), tuple("abc"), "")
    collect = collected({"train": {"encoder": {"pooled": wrong}}, "test": {"encoder": {"pooled": features}}})

    def measured(known):
        def unlabelled(split, *taps, given=False):
            return collect(split, *taps, given=given)[0], {"label": classes if split in known else np.full(12, -1)}

        return representation(per_class=2, draws=1, neighbours=1, images=images)(unlabelled, "test", True)

    found = measured(("test",))
    assert found["knn_accuracy"] == found["probe_accuracy"] == found["pixels_probe_accuracy"] == [100]
    assert set(measured(())) == HEALTH
