"""What is measured of encoders, on features made by hand."""

import numpy as np
import pytest
from collected import LABELS, collected

from kdjax import evaluate
from kdjax.data import Dataset, array_source
from kdjax.evaluate.encoder import probed_rows, representation

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
