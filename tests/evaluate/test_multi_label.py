"""Images of several classes, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from kdjax.core import InputError
from kdjax.evaluate import average_precision, multi_label_probe
from kdjax.evaluate.multi_label import on_several_classes

RANDOM = np.random.default_rng(0)
LABELS = (RANDOM.random((60, 4)) < [0.5, 0.1, 0.9, 0.3]).astype(int)
SCORES = LABELS + RANDOM.normal(0, 1.0, LABELS.shape)


@pytest.mark.parametrize("scores", [SCORES, np.round(SCORES), np.zeros_like(SCORES)], ids=["distinct", "ties", "equal"])
def test_average_precision_is_scikit_learn_s(scores):
    for mean in ("micro", "macro"):
        assert average_precision(scores, LABELS, mean=mean) == pytest.approx(average_precision_score(LABELS, scores, average=mean))
    expected = average_precision_score(LABELS, scores, average=None)
    np.testing.assert_allclose(average_precision(scores, LABELS, mean="none"), expected)


def test_average_precision_counted_by_hand():
    """Of all pairs, from the surest on: the mean over right ones of the part that is right so far."""
    right = LABELS.ravel()[np.argsort(-SCORES.ravel())]
    so_far = [right[: k + 1].mean() for k in range(len(right)) if right[k]]
    assert average_precision(SCORES, LABELS) == pytest.approx(np.mean(so_far))


def test_limits_of_average_precision():
    assert average_precision(LABELS, LABELS) == 1.0
    assert average_precision(np.ones_like(LABELS), LABELS) == pytest.approx(LABELS.mean())  # nothing is known
    # Micro and macro differ where classes differ in how their scores lie, and not by a monotone map of all.
    assert average_precision(np.exp(SCORES), LABELS) == pytest.approx(average_precision(SCORES, LABELS))
    shifted = SCORES + np.array([0.0, 9.0, 0.0, 0.0])
    assert average_precision(shifted, LABELS, mean="macro") == pytest.approx(average_precision(SCORES, LABELS, mean="macro"))
    assert average_precision(shifted, LABELS) < average_precision(SCORES, LABELS) - 0.1


def test_a_class_that_does_not_occur_does_not_count():
    labels = LABELS.copy()
    labels[:, 1] = 0
    each = average_precision(SCORES, labels, mean="none")
    assert np.isnan(each).tolist() == [False, True, False, False]
    assert average_precision(SCORES, labels, mean="macro") == pytest.approx(np.nanmean(each))


@pytest.fixture(scope="module")
def rows():
    features = RANDOM.normal(size=(160, 5)) * [1, 10, 0.1, 1, 1] + 3
    standard = (features - 3) / [1, 10, 0.1, 1, 1]
    labels = (standard @ RANDOM.normal(size=(5, 3)) + RANDOM.normal(0, 0.5, (160, 3)) > [0, 1, -0.5]).astype(int)
    return features[:100], labels[:100], features[100:], labels[100:]


def test_the_probe_is_a_logistic_regression_a_class(rows):
    train, train_labels, test, test_labels = rows
    scaled = StandardScaler().fit(train)
    fits = [LogisticRegression(C=0.3, max_iter=1000).fit(scaled.transform(train), y) for y in train_labels.T]
    p = np.stack([fit.predict_proba(scaled.transform(test))[:, 1] for fit in fits], 1)
    found = multi_label_probe(*rows, c=0.3)
    for mean in ("micro", "macro"):
        assert found[f"{mean}_average_precision"] == pytest.approx(average_precision_score(test_labels, p, average=mean), abs=1e-6)
    assert found["C"] == 0.3 and found["micro_average_precision"] > 0.9
    assert multi_label_probe(*rows[:2], test, test_labels[RANDOM.permutation(60)], c=0.3)["micro_average_precision"] < 0.75


def test_c_is_chosen_on_folds_of_the_training_rows(rows):
    found = multi_label_probe(*rows, grid=(1e-6, 1.0))
    assert found["C"] == 1.0 and found == multi_label_probe(*rows, c=1.0)
    assert multi_label_probe(*rows[:3], 1 - rows[3], grid=(1e-6, 1.0))["C"] == 1.0  # test rows choose nothing


def test_a_class_of_all_rows_or_of_none_is_no_obstacle(rows):
    train, train_labels, test, test_labels = rows
    known = np.concatenate([train_labels, np.ones((100, 1)), np.zeros((100, 1))], 1)
    asked = np.concatenate([test_labels, np.ones((60, 1)), np.zeros((60, 1))], 1)
    assert multi_label_probe(train, known, test, asked, c=1.0)["micro_average_precision"] > 0.9


def test_encoders_are_probed_on_parts_of_the_images(rows):
    train, train_labels, test, test_labels = rows
    blind = RANDOM.normal(size=(2, 100, 5))

    def collect(split, *taps):
        features, labels = (train, train_labels) if split == "train" else (test, test_labels)
        pooled = np.stack([features, blind[int(split == "train")][: len(features)]])
        return {"encoder": {"pooled": pooled}}, {"classes": labels, "label": np.full(len(labels), -1)}

    measure = on_several_classes(fractions=(0.1,), draws=2)
    assert measure(collect, "test", False) == {}
    found = measure(collect, "test", True)
    assert {f"probe_10_percent_{kind}_average_precision" for kind in ("micro", "macro")} == set(found)
    drawn = [np.random.default_rng(seed).permutation(100)[:10] for seed in range(2)]
    each = [multi_label_probe(train[one], train_labels[one], test, test_labels) for one in drawn]
    for kind in ("micro", "macro"):
        few = found[f"probe_10_percent_{kind}_average_precision"]
        assert few[0] == pytest.approx(100 * np.mean([one[f"{kind}_average_precision"] for one in each]))
        assert few[0] > few[1] and few.shape == (2,)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: average_precision(SCORES, LABELS, mean="mean"), "mean='mean' is not accepted: expected micro or macro or none"),
        (lambda: average_precision(SCORES[0], LABELS[0]), "scores .* expected"),
        (lambda: average_precision(SCORES * np.nan, LABELS), "scores hold NaN"),
        (lambda: average_precision(SCORES, LABELS * 2), "labels are not accepted: expected 0 and 1"),
        (lambda: average_precision(SCORES, LABELS * 0), "labels are not accepted: .* a 1 somewhere"),
        (lambda: multi_label_probe(SCORES, LABELS[:9], SCORES, LABELS), "train has features"),
        (lambda: multi_label_probe(SCORES, LABELS, SCORES[:, :2], LABELS), "test has 2 features and 4 classes: expected 4 and 4"),
        (lambda: multi_label_probe(SCORES, LABELS, SCORES, LABELS - 1), "test_labels are not accepted: expected 0 and 1"),
        (lambda: multi_label_probe(SCORES, LABELS, SCORES, LABELS, c=0.0), "C=0.0 is not accepted"),
        (lambda: multi_label_probe(SCORES, LABELS, SCORES, LABELS, folds=61), "folds=61 is not accepted: expected at most 60"),
    ],
)
def test_what_does_not_fit_is_refused(call, line):
    with pytest.raises(InputError, match=f"^{line}"):
        call()
