import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdjax.core.check import InputError
from kdjax.evaluate import linear_probe

RANDOM = np.random.default_rng(0)
LABELS = np.tile(np.arange(3), 60)
FEATURES = 2 * np.eye(8)[LABELS] + RANDOM.normal(size=(180, 8))
FEATURES = FEATURES * 10.0 ** np.arange(-3, 5) + 7  # scales that an unstandardised fit cannot cope with
TRAIN, TEST = (FEATURES[:90], LABELS[:90]), (FEATURES[90:], LABELS[90:])


def calibration_error(p, labels, bins=15):
    """By hand, bin by bin."""
    confidence, right = p.max(1), p.argmax(1) == labels
    parts = [(confidence > b / bins) & (confidence <= (b + 1) / bins) for b in range(bins)]
    return sum(part.mean() * abs(right[part].mean() - confidence[part].mean()) for part in parts if part.any())


def test_fixed_c_equals_scikit_learn():
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000)).fit(*TRAIN)
    found = linear_probe(*TRAIN, *TEST, c=0.05)
    assert (found["accuracy"], found["C"]) == (model.score(*TEST), 0.05)
    np.testing.assert_allclose(found["ece"], calibration_error(model.predict_proba(TEST[0]), TEST[1]), rtol=1e-4)


def test_classes_that_train_has_not_are_wrong_and_those_that_test_has_not_do_no_harm():
    some = TRAIN[1] > 0
    found, all_of = (
        linear_probe(TRAIN[0][some], TRAIN[1][some], *(x[keep] for x in TEST), c=1.0) for keep in (TEST[1] > 0, TEST[1] >= 0)
    )
    assert all_of["accuracy"] == pytest.approx(found["accuracy"] * 2 / 3) and all_of["ece"] > found["ece"]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000)).fit(*TRAIN)
    only = TEST[1] == 2
    assert linear_probe(*TRAIN, TEST[0][only], TEST[1][only], c=1.0)["accuracy"] == model.score(TEST[0][only], TEST[1][only])


def test_choice_reads_training_labels_only_and_repeats_itself():
    first = linear_probe(*TRAIN, *TEST)
    assert first == linear_probe(*TRAIN, *TEST)
    assert first["C"] == linear_probe(*TRAIN, TEST[0], TEST[1][::-1])["C"]
    assert first["accuracy"] == linear_probe(*TRAIN, *TEST, c=first["C"])["accuracy"]
    assert first["accuracy"] > 0.6


def test_choice_takes_the_better_value():
    # With C at 1e-9 all weights are 0 and every row gets one class.
    assert linear_probe(*TRAIN, *TEST, grid=(1.0, 1e-9))["C"] == 1.0
    noise = RANDOM.normal(size=TRAIN[0].shape)
    assert linear_probe(noise, np.zeros(90, int) + (np.arange(90) < 6), *TEST, grid=(1e-8, 1e-9))["C"] == 1e-9


def test_constant_features_and_unconverged_fits_pass():
    padded = [np.concatenate([x, np.ones((90, 1))], axis=1) for x in (TRAIN[0], TEST[0])]
    alone, more = (linear_probe(*TRAIN, *TEST, c=1.0), linear_probe(padded[0], TRAIN[1], padded[1], TEST[1], c=1.0))
    assert alone == more
    linear_probe(*TRAIN, *TEST, c=1e6, iterations=1)


def test_folds_shrink_to_the_smallest_class():
    labels = np.array([0] * 44 + [1] * 44 + [2] * 2)
    assert linear_probe(TRAIN[0], labels, *TEST, grid=(1.0,), folds=5)["C"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "line"),
    [
        ((TRAIN[0], TRAIN[1][:5], *TEST), {}, r"train has features \(90, 8\) and labels \(5,\)"),
        ((*TRAIN, TEST[0][0], TEST[1]), {}, r"test has features \(8,\)"),
        ((*TRAIN, TEST[0][:, :7], TEST[1]), {}, "test features have width 7: expected 8"),
        ((np.full((90, 8), np.nan), TRAIN[1], *TEST), {}, "train features hold NaN"),
        ((TRAIN[0], np.zeros(90, int), *TEST), {}, "class 0 only"),
        ((TRAIN[0], TRAIN[1] - 1, *TEST), {}, "train_labels hold -1"),
        ((TRAIN[0], np.arange(90) > 0, *TEST), {}, "1 row of class False"),
        ((*TRAIN, *TEST), {"c": 0.0}, "C=0.0"),
        ((*TRAIN, *TEST), {"grid": (1.0, -1.0)}, "C=-1.0"),
        ((*TRAIN, *TEST), {"grid": ()}, "grid="),
        ((*TRAIN, *TEST), {"folds": 1}, "folds=1"),
    ],
)
def test_refusals(arguments, options, line):
    with pytest.raises(InputError, match=line) as error:
        linear_probe(*arguments, **options)
    assert "\n" not in str(error.value)
