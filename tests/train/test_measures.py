"""What is measured of a stage's networks, on logits and features made by hand."""

import numpy as np
import pytest

from kdjax import evaluate
from kdjax.data import Dataset, array_source
from kdjax.train.measures import classification, classification_together, probed_rows, representation

LABELS = np.arange(12) % 6
RNG = np.random.default_rng(0)


def right(count, scale=5.0):
    """Logits of 12 rows, 6 classes, the first `count` rows right and the others one class off."""
    guess = np.where(np.arange(12) < count, LABELS, (LABELS + 1) % 6)
    return scale * np.eye(6, dtype=np.float32)[guess]


def collected(outputs):
    """Stands in for `collect`: outputs by split, and what was asked for."""

    def collect(split, *taps, given=False):
        asked = {n: {t: v[t] for t in taps if t in v} for n, v in outputs[split].items() if given or n != "teacher"}
        return asked, {"label": LABELS}

    return collect


def test_accuracy_while_training_for_every_member_and_network():
    networks = {"peer0": {"logits": np.stack([right(12), right(6)])}, "peer1": {"logits": np.stack([right(3), right(0)])}}
    found = classification(collected({"val": networks}), "val", False)
    assert {k: v.tolist() for k, v in found.items()} == {"accuracy": [100, 50], "peer1_accuracy": [25, 0]}


def test_final_measures_of_a_student_and_its_agreement_with_the_teacher():
    networks = {"student": {"logits": np.stack([right(9), right(6)])}, "teacher": {"logits": np.stack([right(12)] * 2)}}
    found = classification(collected({"test": networks}), "test", True)
    assert set(found) == {"accuracy", "top5_accuracy", "nll", "ece", "brier", "agreement"}
    np.testing.assert_allclose(found["accuracy"], [75, 50])
    np.testing.assert_allclose(found["agreement"], [75, 50])
    # All rows are equally sure: p of the guess, q of each other class.
    p, q = np.exp(5) / (np.exp(5) + 5), 1 / (np.exp(5) + 5)
    np.testing.assert_allclose(found["ece"], [100 * (p - 0.75), 100 * (p - 0.5)], rtol=1e-4)
    np.testing.assert_allclose(found["nll"], [-np.log(p) * r - np.log(q) * (1 - r) for r in (0.75, 0.5)], rtol=1e-4)
    hit, miss = (1 - p) ** 2 + 5 * q**2, p**2 + (1 - q) ** 2 + 4 * q**2
    np.testing.assert_allclose(found["brier"], [hit * r + miss * (1 - r) for r in (0.75, 0.5)], rtol=1e-4)


def test_networks_that_answer_together_have_the_accuracy_of_their_mean():
    """The surer one decides unless its weight is small."""
    networks = {"network": {"logits": np.stack([right(9), right(3, scale=7.0)])}}
    for weights, wanted in (([1, 1], 25), ([2, 1], 75)):
        measure = classification_together({"nets": [{}, {}], "weights": weights})
        found = measure(collected({"test": networks}), "test", True)
        assert found["accuracy"].tolist() == [75, 25] and found["ensemble_accuracy"].tolist() == [wanted] * 2
        assert set(measure(collected({"test": networks}), "test", False)) == {"accuracy"}


def test_top5_where_there_are_more_than_five_classes():
    ranks = (np.arange(6) - LABELS[:, None]) % 6  # the true class has rank 0
    networks = {"network": {"logits": np.stack([(ranks + 1) % 6, ranks]).astype(np.float32)}}  # fifth of six, sixth of six
    assert classification(collected({"test": networks}), "test", True)["top5_accuracy"].tolist() == [100, 0]
    networks["network"]["logits"] = networks["network"]["logits"][..., :5]
    assert "top5_accuracy" not in classification(collected({"test": networks}), "test", True)


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
    names = {"knn_accuracy", "rank_me", "online_probe_accuracy"} | ({"probe_accuracy"} if final else set())
    assert set(found) == names and all(np.shape(v) == (2,) for v in found.values())
    assert found["knn_accuracy"][0] == 100 > found["knn_accuracy"][1]
    np.testing.assert_allclose(found["rank_me"], [evaluate.rank_me(x) for x in features], rtol=1e-5)
    assert found["online_probe_accuracy"][0] == 100 > found["online_probe_accuracy"][1]
    if final:
        assert found["probe_accuracy"][0] == 100 > found["probe_accuracy"][1]


def test_raw_pixels_are_probed_as_a_floor():
    """Images that tell the classes apart for features that do not."""
    source = array_source((np.eye(6, dtype=np.uint8) * 255)[LABELS].reshape(12, 2, 3, 1), LABELS)
    images = Dataset(source, None, source, 6, (2, 3, 1), tuple("abcdef"), "")
    blind = {"encoder": {"pooled": np.repeat(RNG.normal(size=(2, 6, 6)), 2, axis=1).astype(np.float32)}}
    measure = representation(per_class=2, draws=1, neighbours=1, images=images)
    found = measure(collected({"test": blind, "train": blind}), "test", True)
    assert found["pixels_probe_accuracy"].tolist() == [100, 100] and (found["probe_accuracy"] < 60).all()
    assert "pixels_probe_accuracy" not in measure(collected({"test": blind, "train": blind}), "test", False)


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
    images = Dataset(pixels._replace(read=None), None, pixels, 3, (1, 3, 1), tuple("abc"), "")
    collect = collected({"train": {"encoder": {"pooled": wrong}}, "test": {"encoder": {"pooled": features}}})

    def measured(known):
        def unlabelled(split, *taps, given=False):
            return collect(split, *taps, given=given)[0], {"label": classes if split in known else np.full(12, -1)}

        return representation(per_class=2, draws=1, neighbours=1, images=images)(unlabelled, "test", True)

    found = measured(("test",))
    assert found["knn_accuracy"] == found["probe_accuracy"] == found["pixels_probe_accuracy"] == [100]
    assert list(measured(())) == ["rank_me"]
