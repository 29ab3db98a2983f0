import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data.sampler import TEST_SPLIT, VAL_SPLIT
from kdjax.data.source import Source, array_source
from kdjax.data.split import few_labels, keep_labels, label_fraction, long_tailed, stratified

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 20, 3]))


def test_stratified_cuts_the_same_part_of_every_class():
    kept, cut = stratified(LABELS, 0.25, seed=0, stream=VAL_SPLIT)
    assert np.bincount(LABELS[cut]).tolist() == [10, 5, 1]
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(63))
    assert (np.diff(kept) > 0).all() and (np.diff(cut) > 0).all()


def test_stratified_follows_seed_and_stream_only():
    cut = stratified(LABELS, 0.25, seed=0, stream=VAL_SPLIT)[1]
    np.testing.assert_array_equal(cut, stratified(LABELS, 0.25, seed=0, stream=VAL_SPLIT)[1])
    assert not np.array_equal(cut, stratified(LABELS, 0.25, seed=1, stream=VAL_SPLIT)[1])
    assert not np.array_equal(cut, stratified(LABELS, 0.25, seed=0, stream=TEST_SPLIT)[1])


@pytest.mark.parametrize(("fraction", "counts"), [(0.01, [1, 1, 1]), (0.99, [39, 19, 2])])
def test_stratified_leaves_every_class_on_both_sides(fraction, counts):
    assert np.bincount(LABELS[stratified(LABELS, fraction, seed=0, stream=VAL_SPLIT)[1]]).tolist() == counts


def test_unlabelled_rows_are_one_class():
    kept, cut = stratified(np.full(10, -1), 0.2, seed=0, stream=TEST_SPLIT)
    assert (kept.size, cut.size) == (8, 2)


def test_stratified_refuses_a_class_of_one():
    with pytest.raises(InputError, match="class 1 has 1 example"):
        stratified(np.array([0, 0, 1]), 0.2, seed=0, stream=VAL_SPLIT)
    with pytest.raises(InputError, match="class 'dog' has 1 example"):
        stratified(np.array([0, 0, 1]), 0.2, seed=0, stream=VAL_SPLIT, names=("cat", "dog"))
    with pytest.raises(InputError, match="the set has 1 image"):
        stratified(np.array([-1]), 0.2, seed=0, stream=VAL_SPLIT)


def test_few_labels_is_balanced_nested_and_seeded():
    rows = few_labels(LABELS, 3, 0)
    assert np.bincount(LABELS[rows]).tolist() == [3, 3, 3]
    assert (np.diff(rows) > 0).all()
    assert set(few_labels(LABELS, 2, 0)) < set(rows)
    assert not np.array_equal(rows, few_labels(LABELS, 3, 1))


@pytest.mark.parametrize(
    ("labels", "per_class", "line"),
    [(LABELS, 4, "per_class=4 .* class 2 has 3"), (LABELS, 0, "per_class=0"), (np.array([0, -1]), 1, "labels hold -1")],
)
def test_few_labels_refusals(labels, per_class, line):
    with pytest.raises(InputError, match=line):
        few_labels(labels, per_class, 0)


def test_a_fraction_is_of_every_class_nested_and_seeded():
    rows = label_fraction(LABELS, 0.4, 0)
    assert np.bincount(LABELS[rows]).tolist() == [16, 8, 1] and (np.diff(rows) > 0).all()
    assert set(label_fraction(LABELS[LABELS < 2], 0.05, 0)) < set(label_fraction(LABELS[LABELS < 2], 0.1, 0))
    assert set(few_labels(LABELS, 1, 0)) < set(rows) and not np.array_equal(rows, label_fraction(LABELS, 0.4, 1))
    np.testing.assert_array_equal(label_fraction(LABELS, 1.0, 0), np.arange(63))
    assert 1 / 49 * 49 < 1 and label_fraction(np.zeros(49, int), 1 / 49, 0).size == 1  # but for rounding it is one


@pytest.mark.parametrize(
    ("labels", "fraction", "line"),
    [
        (LABELS, 0.3, "fraction=0.3 is not accepted: of the 3 examples of class 2 it is less than one"),
        (LABELS, 0.0, "fraction=0.0"),
        (LABELS, 1.5, "fraction=1.5"),
        (np.array([0, -1]), 1.0, "labels hold -1"),
    ],
)
def test_fractions_that_are_refused(labels, fraction, line):
    with pytest.raises(InputError, match=line):
        label_fraction(labels, fraction, 0)


@pytest.mark.parametrize(
    ("classes", "each", "ratio", "total"),  # the published sizes of CIFAR-10-LT and CIFAR-100-LT
    [(10, 5000, 0.01, 12406), (10, 5000, 0.02, 13996), (100, 500, 0.01, 10847), (100, 500, 0.1, 19573), (10, 50, 1.0, 500)],
)
def test_a_long_tail_has_the_published_numbers_of_rows(classes, each, ratio, total):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))
    rows = long_tailed(labels, ratio, 0)
    assert len(rows) == len(set(rows)) == total and (np.diff(rows) > 0).all()
    counts = np.bincount(labels[rows])
    assert (counts[0], counts[-1]) == (each, round(each * ratio)) and (np.diff(counts) <= 0).all()


def test_a_long_tail_starts_at_the_smallest_class_is_nested_and_seeded():
    rows = long_tailed(LABELS, 1 / 3, 0)
    assert np.bincount(LABELS[rows]).tolist() == [3, 1, 1]
    assert set(rows) < set(long_tailed(LABELS, 0.9, 0)) < set(few_labels(LABELS, 3, 0))
    assert not np.array_equal(rows, long_tailed(LABELS, 1 / 3, 1))
    assert long_tailed(np.full(4, 7), 0.5, 0).size == 4  # a single class is the first


@pytest.mark.parametrize(
    ("labels", "ratio", "line"),
    [
        (LABELS, 0.3, "ratio=0.3 is not accepted: it leaves class 2 less than one example"),
        (LABELS, 0.0, "ratio=0.0 is not accepted: expected a number above 0, at most 1"),
        (LABELS, 1.5, "ratio=1.5"),
        (np.array([0, -1]), 1.0, "labels hold -1"),
    ],
)
def test_long_tails_that_are_refused(labels, ratio, line):
    with pytest.raises(InputError, match=line):
        long_tailed(labels, ratio, 0)


def test_kept_labels_are_the_few_and_all_images_stay():
    images = np.arange(63, dtype=np.uint8).reshape(63, 1, 1, 1)
    part = np.flatnonzero(LABELS < 2)  # a source whose rows are not the positions in the set
    labelled, partly = keep_labels(array_source(images, LABELS, part), 5, seed=1)
    some, everything = labelled.read(np.arange(labelled.size)), partly.read(np.arange(partly.size))
    assert labelled.size == 10 and np.bincount(some["label"]).tolist() == [5, 5]
    np.testing.assert_array_equal(some["label"], LABELS[some["index"]])
    np.testing.assert_array_equal(everything["index"], part)
    np.testing.assert_array_equal(everything["image"], images[part])
    known = everything["label"] >= 0
    np.testing.assert_array_equal(everything["index"][known], some["index"])
    np.testing.assert_array_equal(everything["label"][known], some["label"])
    np.testing.assert_array_equal(partly.read(np.array([3, 1]))["label"], everything["label"][[3, 1]])
    for source, batch in ((labelled, some), (partly, everything)):
        np.testing.assert_array_equal(source.labels(), batch["label"])


def test_labels_are_drawn_without_reading_an_image():
    def read(rows):
        raise AssertionError

    labelled, partly = keep_labels(Source(63, read, lambda: LABELS), 2, seed=1)
    assert (labelled.size, np.count_nonzero(partly.labels() >= 0)) == (6, 6)
