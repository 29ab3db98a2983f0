"""What features are worth for two tasks, on features made by hand."""

import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.data import few_labels
from kdjax.evaluate import linear_probe
from kdjax.evaluate.transfer import target_accuracy, transfer

RNG = np.random.default_rng(0)
SOURCE, TARGET = np.arange(24) % 2, np.arange(24) % 3
SPLITS = {"train": SOURCE, "test": SOURCE, "target_train": TARGET, "target_test": TARGET}


def collected(taps):
    """`taps(labels of a split) -> {tap: [members, N, D]}`."""

    def collect(split, *names):
        found = taps(SPLITS[split])
        return {"network": {name: found[name] for name in names if name in found}}, {"label": SPLITS[split]}

    return collect


def onehot(labels, size, noise):
    return (np.eye(size)[labels] + noise * RNG.normal(size=(2, len(labels), size))).astype(np.float32)


def test_each_task_has_probes_of_its_own():
    """Two classes of the features are seen by one half of them, three by the other."""
    measure = transfer(per_class=(2, 4), draws=2)
    only_two = collected(lambda y: {"pooled": onehot(y % 2, 3, 0.01) if y is SOURCE else 0 * onehot(y, 3, 0)})
    found = measure(only_two, "test", True)
    assert found["source_accuracy"].tolist() == [100, 100] and (found["target_4_accuracy"] < 50).all()
    assert set(found) == {"source_accuracy", "target_2_accuracy", "target_4_accuracy"} and measure(only_two, "test", False) == {}


def test_rows_are_drawn_and_c_is_chosen_from_the_grid():
    features = {name: onehot(y, 3, 1.0) for name, y in SPLITS.items()}

    def collect(split, *names):
        return {"network": {"pooled": features[split]}}, {"label": SPLITS[split]}

    found = transfer(per_class=(3,), draws=2, grid=(0.1, 1.0))(collect, "test", True)
    for member in range(2):
        known, test = features["target_train"][member], features["target_test"][member]
        each = [
            linear_probe(known[r], TARGET[r], test, TARGET, grid=(0.1, 1.0)) for r in (few_labels(TARGET, 3, s) for s in (0, 1))
        ]
        assert found["target_3_accuracy"][member] == pytest.approx(100 * np.mean([one["accuracy"] for one in each]))


def test_nets_in_a_row_know_together_what_each_knows_in_part():
    """Net k of four tells class k of the target from the others, so that three of them are needed."""

    def taps(labels):
        each = {f"teacher{k}/pooled": onehot((labels == k).astype(int), 2, 0.01) for k in range(4)}
        return each | {"pooled": np.concatenate(list(each.values()), -1)}

    few = {"per_class": (4,), "draws": 1, "grid": (1.0, 100.0)}
    found = transfer(together=(1, 4), **few)(collected(taps), "test", True)
    assert set(found) == {f"cat{n}_{task}_accuracy" for n in (1, 4) for task in ("source", "target_4")}
    assert found["cat4_target_4_accuracy"].tolist() == [100, 100]
    # One of the first three names its class and guesses between two; the fourth guesses.
    assert (found["cat1_target_4_accuracy"] < 70).all() and (found["cat1_target_4_accuracy"] > 40).all()
    whole = transfer(**few)(collected(taps), "test", True)
    assert whole["target_4_accuracy"].tolist() == [100, 100]


def test_classifiers_of_the_second_task():
    right, wrong = np.eye(3)[TARGET], np.eye(3)[(TARGET + 1) % 3]
    taps = {
        "logits": np.stack([right, wrong]),
        "teacher0/logits": np.stack([right] * 2),
        "teacher1/logits": np.stack([wrong, right]),
    }
    found = target_accuracy(each=True)(collected(lambda y: taps), "test", False)
    assert found["accuracy"].tolist() == [100, 0] and found["net_accuracy"].tolist() == [50, 100]
    assert set(target_accuracy()(collected(lambda y: taps), "test", True)) == {"accuracy"}


def test_a_network_with_fewer_nets_is_refused():
    with pytest.raises(InputError, match="the network holds 0 nets with a tap 'pooled': expected 4"):
        transfer(together=(1, 4))(collected(lambda y: {"pooled": onehot(y, 3, 0.1)}), "test", True)
