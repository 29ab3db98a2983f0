import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdjax import data
from kdjax.core.check import InputError
from kdjax.data import epoch_order, stratified
from kdjax.data.sampler import PROBE_SPLIT
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


def by_hand(x, y, test, rate, epochs, batch, seed=0):
    """SGD as its papers write it, in float64: velocity v <- 0.9 v + g, step by g + 0.9 v at half a cosine of the rate."""
    mean, std = x.mean(0), x.std(0)
    x, test, size = (x - mean) / std, (test - mean) / std, min(batch, len(x))
    w, v, per_epoch = np.zeros((9, 3)), np.zeros((9, 3)), len(x) // size
    x, test = (np.concatenate([part, np.ones((len(part), 1))], axis=1) for part in (x, test))
    for step in range(epochs * per_epoch):
        epoch, k = divmod(step, per_epoch)
        rows = epoch_order(seed, epoch, len(x))[k * size : (k + 1) * size]
        gradient = x[rows].T @ (softmax(x[rows] @ w, axis=1) - np.eye(3)[y[rows]]) / size
        v = 0.9 * v + gradient
        w -= rate * size / 256 * (1 + np.cos(np.pi * step / epochs / per_epoch)) / 2 * (gradient + 0.9 * v)
    return softmax(test @ w, axis=1)


@pytest.mark.parametrize("batch", [32, 256])
def test_sgd_at_one_rate_equals_numpy(batch):
    found = linear_probe(*TRAIN, *TEST, solver="sgd", rates=(0.3,), epochs=12, batch=batch)
    p = by_hand(*TRAIN, TEST[0], 0.3, 12, batch)
    assert (found["accuracy"], found["rate"]) == (np.mean(p.argmax(1) == TEST[1]), 0.3)
    np.testing.assert_allclose(found["ece"], calibration_error(p, TEST[1]), rtol=1e-4)


def test_the_rate_is_chosen_on_held_out_rows_alone():
    rates = (1e-6, 0.3, 1e-5)
    found = linear_probe(*TRAIN, *TEST, solver="sgd", rates=rates, epochs=12, batch=16)
    assert found == linear_probe(*TRAIN, *TEST, solver="sgd", rates=(found["rate"],), epochs=12, batch=16)
    kept, cut = stratified(TRAIN[1], 0.2, seed=0, stream=PROBE_SPLIT)
    held = {r: by_hand(TRAIN[0][kept], TRAIN[1][kept], TRAIN[0][cut], r, 12, 16) for r in sorted(rates)}
    best = max(held, key=lambda r: np.mean(held[r].argmax(1) == TRAIN[1][cut]))
    assert found["rate"] == best
    reversed_test = linear_probe(*TRAIN, TEST[0], TEST[1][::-1], solver="sgd", rates=rates, epochs=12, batch=16)
    assert reversed_test["rate"] == best
    # Of equals the smallest: at weights of 0 every row gets the first class.
    assert linear_probe(*TRAIN, *TEST, solver="sgd", rates=(1e-9, 1e-8), epochs=1)["rate"] == 1e-9


def test_a_rate_that_blows_up_is_right_nowhere():
    """Where most rows are of the first class, which is what the largest of NaNs would be."""
    noise, labels = RANDOM.normal(size=(100, 40)), (np.arange(100) % 10 == 0).astype(int)
    found = linear_probe(noise, labels, noise, labels, solver="sgd", rates=(0.4, 1e38))
    assert found["rate"] == 0.4
    assert linear_probe(noise, labels, noise, labels, solver="sgd", rates=(1e38,))["accuracy"] == 0


def test_sgd_and_lbfgs_agree_on_features_of_many_rows():
    digits = data.load("digits")
    pixels = [x.read(np.arange(x.size)) for x in (digits.train, digits.test)]
    rows = [y for x in pixels for y in (x["image"].reshape(len(x["image"]), -1) / 255.0, x["label"])]
    lbfgs, sgd = linear_probe(*rows, c=0.1), linear_probe(*rows, solver="sgd", batch=128)
    assert abs(lbfgs["accuracy"] - sgd["accuracy"]) < 0.015 and sgd["accuracy"] > 0.95


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
        ((*TRAIN, *TEST), {"solver": "adam"}, "solver='adam' is not accepted: expected lbfgs or sgd"),
        ((*TRAIN, *TEST), {"solver": "sgd", "rates": (0.1, 0.0)}, "rate=0.0"),
        ((*TRAIN, *TEST), {"solver": "sgd", "rates": ()}, "rates="),
        ((*TRAIN, *TEST), {"solver": "sgd", "epochs": 0}, "epochs=0"),
        ((*TRAIN, *TEST), {"solver": "sgd", "batch": 0}, "batch=0"),
        ((*TRAIN, *TEST), {"solver": "sgd", "held_out": 1.0}, "held_out=1.0"),
        ((TRAIN[0], np.arange(90) > 0, *TEST), {"solver": "sgd"}, "1 row of class False: expected 2 or more, or a single rate"),
    ],
)
def test_refusals(arguments, options, line):
    with pytest.raises(InputError, match=line) as error:
        linear_probe(*arguments, **options)
    assert "\n" not in str(error.value)
