"""What a choice of rows to label is worth, on features made by hand."""

import numpy as np
import pytest
from collected import collected

from kdjax.core import InputError
from kdjax.evaluate.selective import WAYS, pool_of, selective, selective_by_clusters, stratified_rows, worth

RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 6


def groups(noise, members=2):
    """Features of which the rows of a class lie together."""
    return (np.eye(6)[LABELS] + noise * RNG.normal(size=(members, 12, 6))).astype(np.float32)


def splits(train, test, **more):
    return {"train": {"encoder": {"pooled": train}, **more}, "test": {"encoder": {"pooled": test}, **more}}


def test_a_row_of_each_class_is_found_without_labels_and_not_by_chance():
    measure = selective(budgets=(6,), draws=6, k=2)
    found = measure(collected(splits(groups(0.01), groups(0.01))), "test", True)
    assert set(found) == {f"{way}_6_{what}" for way in WAYS for what in ("accuracy", "classes", "largest", "smallest")}
    assert all(value.shape == (2,) for value in found.values())
    for way in ("usl", "usl_density", "stratified"):
        # k-means from rows drawn at random may begin with two rows of one class.
        assert (found[f"{way}_6_classes"] >= (6 if way == "stratified" else 4)).all()
    assert (found["stratified_6_accuracy"] == 100).all() and (found["stratified_6_largest"] == 1).all()
    assert (found["usl_6_accuracy"] > found["random_6_accuracy"]).all()
    assert (found["random_6_classes"] < 6).all() and (found["random_6_smallest"] < 1).all()
    assert measure(collected(splits(groups(0.01), groups(0.01))), "test", False) == {}


def test_members_have_draws_of_their_own():
    features = np.repeat(groups(0.5, members=1), 2, axis=0)
    found = selective(budgets=(6,), draws=3, k=2)(collected(splits(features, features)), "test", True)
    assert found["random_6_accuracy"][0] != found["random_6_accuracy"][1]


def test_the_regulariser_can_be_told_otherwise():
    features = collected(splits(groups(0.6), groups(0.6)))
    one, other = (selective(budgets=(6,), draws=3, k=2, options={"weight": w})(features, "test", True) for w in (0.0, 100.0))
    for what in ("accuracy", "classes"):
        assert np.array_equal(one[f"usl_6_{what}"], one[f"usl_density_6_{what}"])
        assert np.array_equal(one[f"usl_density_6_{what}"], other[f"usl_density_6_{what}"])
    assert any(not np.array_equal(one[f"usl_6_{what}"], other[f"usl_6_{what}"]) for what in ("accuracy", "classes"))


def test_clusters_that_are_the_classes_choose_one_row_of_each():
    """By the features of the start, and not by those that went along with the clusters."""
    logits = np.broadcast_to(10 * np.eye(6)[LABELS][None, :, None], (2, 12, 3, 6))
    parts = {"encoder": {"pooled": RNG.normal(size=(2, 12, 6)), "clusters": logits}, "start": {"pooled": groups(0.01)}}
    collect = collected({"train": parts, "test": parts})
    found = selective_by_clusters()(collect, "test", True)
    assert found["uslt_accuracy"].tolist() == [100, 100] and found["uslt_classes"].tolist() == [6, 6]
    assert found["used_clusters"].tolist() == [6, 6]
    assert set(selective_by_clusters()(collect, "test", False)) == {"used_clusters"}


def test_labels_that_are_not_known_are_no_pool():
    collect = collected(splits(groups(0.1), groups(0.1)))

    def unlabelled(known):
        def found(split, *taps, given=False):
            return collect(split, *taps, given=given)[0], {"label": LABELS if split in known else np.full(12, -1)}

        return found

    assert pool_of(unlabelled(()), "test") is None and selective()(unlabelled(()), "test", True) == {}
    halves = pool_of(unlabelled(("test",)), "test")
    assert halves is not None and halves.features.shape == halves.test.shape == (2, 6, 6) and set(halves.labels) == set(range(6))


def test_rows_of_one_class_answer_nothing_else():
    x = groups(0.01)[0]
    assert worth(x[[0, 6]], LABELS[[0, 6]], x, LABELS, classes=6) == pytest.approx((100 / 6, 1, 2, 0))


def test_stratified_rows_are_shared_as_evenly_as_can_be():
    labels = np.repeat(np.arange(4), (1, 5, 6, 7))
    for seed in range(3):
        rows = stratified_rows(labels, 10, seed=seed)
        assert len(set(rows.tolist())) == 10 and sorted(np.bincount(labels[rows])) == [1, 3, 3, 3]
    assert sorted(stratified_rows(labels, 19, seed=0)) == list(range(19))
    assert {tuple(np.bincount(labels[stratified_rows(labels, 2, seed=s)], minlength=4)) for s in range(20)} != {(1, 1, 0, 0)}
    with pytest.raises(InputError, match="budget=20 is not accepted: expected 1 to 19, the number of rows"):
        stratified_rows(labels, 20, seed=0)
