"""What an encoder is worth for a task, on features made by hand."""

import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.data import few_labels
from kdjax.evaluate import few_shot_accuracy, h_score, knn_accuracy, leep, linear_probe, log_me
from kdjax.evaluate.tasks import on_task
from kdjax.train.host_code import of_host_code

RNG = np.random.default_rng(0)
LABELS = {"far/train": np.arange(24) % 3, "far/test": np.arange(24) % 3}
FEATURES = {name: (np.eye(3)[y] + 0.6 * RNG.normal(size=(2, len(y), 3))).astype(np.float32) for name, y in LABELS.items()}
LOGITS = {name: RNG.normal(size=(2, len(y), 4)).astype(np.float32) for name, y in LABELS.items()}
OPTIONS = {"neighbours": 3, "episodes": 4, "ways": 3, "shots": 2, "queries": 3, "grid": (0.1, 1.0)}
FEW = {"per_class": 2, "grid": (0.1, 1.0)}


def collect(split, *taps, given=False):
    found = {"pooled": FEATURES[split], "logits": LOGITS[split]}
    return {"network": {tap: found[tap] for tap in taps}, "other": {}}, {"label": LABELS[split]}


def pooled_only(split, *taps, given=False):
    outputs, columns = collect(split, "pooled")
    return outputs, columns


def test_every_way_to_measure_sees_its_own_rows():
    found = on_task("far", **OPTIONS)(collect, "test", True)
    assert set(found) == {f"far_{what}_accuracy" for what in ("probe", "knn", "few_shot")}
    known, labels = LABELS["far/train"], LABELS["far/test"]
    for member, (a, b) in enumerate(zip(FEATURES["far/train"], FEATURES["far/test"], strict=True)):
        probe = linear_probe(a, known, b, labels, grid=(0.1, 1.0))["accuracy"]
        near = knn_accuracy(a, known, b, labels, classes=3, k=3)
        few = few_shot_accuracy(b, labels, ways=3, shots=2, queries=3, episodes=4).mean
        each = [found[f"far_{what}_accuracy"][member] for what in ("probe", "knn", "few_shot")]
        assert each == pytest.approx([100 * probe, 100 * float(near), 100 * few])
    assert on_task("far", **OPTIONS)(collect, "test", False) == {}
    assert "far_few_shot_accuracy" not in on_task("far", neighbours=3, episodes=0, **FEW)(collect, "test", True)


def test_a_probe_on_few_labels_is_the_mean_over_draws():
    found = on_task("far", draws=3, neighbours=3, episodes=0, **FEW)(collect, "test", True)
    a, known, b, y = FEATURES["far/train"][1], LABELS["far/train"], FEATURES["far/test"][1], LABELS["far/test"]
    drawn = [few_labels(known, 2, seed) for seed in range(3)]
    each = [linear_probe(a[rows], known[rows], b, y, grid=(0.1, 1.0))["accuracy"] for rows in drawn]
    assert found["far_probe_accuracy"][1] == pytest.approx(100 * np.mean(each)) and len(set(each)) > 1


def test_scores_are_of_the_rows_to_learn_from():
    found = on_task("far", scores=True, neighbours=3, episodes=0, **FEW)(collect, "test", True)
    known, logits = LABELS["far/train"], LOGITS["far/train"].astype(np.float64)
    for member, x in enumerate(FEATURES["far/train"]):
        assert found["far_h_score"][member] == h_score(x, known) and found["far_log_me"][member] == log_me(x, known)
        p = np.exp(logits[member]) / np.exp(logits[member]).sum(-1, keepdims=True)
        assert found["far_leep"][member] == pytest.approx(leep(p, known), rel=1e-5)
    without = on_task("far", scores=True, neighbours=3, episodes=0, **FEW)(pooled_only, "test", True)
    assert set(found) - set(without) == {"far_leep"}


def test_another_digest_is_another_measure():
    one, same, other = (of_host_code(on_task("far", digest=digest)) for digest in "aab")
    assert one == same != other


def test_networks_without_features_are_refused():
    def nothing(split, *taps, given=False):
        return {"network": {}}, {"label": LABELS[split]}

    with pytest.raises(InputError, match="network 'network' has no tap 'pooled'"):
        on_task("far")(nothing, "test", True)
