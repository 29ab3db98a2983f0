"""What is measured of a stage's encoders, which have no classes: functions `(collect, split, final) -> {measure: [members]}`."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data import Dataset, Source, few_labels, label_fraction, spread_rows
from kdjax.data.sampler import PROBE_SPLIT
from kdjax.data.split import stratified
from kdjax.evaluate.classification import top_k
from kdjax.evaluate.few_shot import check_few_shot, few_shot_accuracy
from kdjax.evaluate.health import feature_spread, rank_me, uniformity
from kdjax.evaluate.knn import knn_accuracy
from kdjax.evaluate.measure import Alarm
from kdjax.evaluate.probe import linear_probe

COLLAPSE = (
    Alarm("rank_me", 2.0, "the features of all images vary along one direction, so they have collapsed"),
    Alarm("feature_spread", 0.1, "the features of all images point nearly the same way, so they have collapsed"),
    Alarm("embedding_spread", 0.05, "the projector gives all images nearly one embedding, so the embeddings have collapsed"),
)
SAMPLE = 1000  # rows of uniformity, which compares each with each
# Of a probe by one row a class, where nothing is left to choose by.
SINGLE: dict[str, dict[str, Any]] = {"lbfgs": {"c": 1.0}, "sgd": {"rates": (0.2,)}}


def representation(
    *,
    per_class: int = 10,
    draws: int = 5,
    fractions: Sequence[float] = (),
    solver: str = "lbfgs",
    neighbours: int = 20,
    episodes: int = 0,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    images: Dataset | None = None,
) -> Callable:
    """Makes the measure of a self-supervised encoder: the tap `"pooled"`, before any projector.

    While training: weighted kNN and, where there is one, the online probe; and of the features their rank (`rank_me`), how far
    they spread around their mean direction (`feature_spread`), and how evenly (`uniformity`, of at most 1000 rows). `COLLAPSE`
    holds the alarms that fit these.

    At the end also linear probes on few labels, with their calibration error: `probe_accuracy` and `probe_ece` of logistic
    regression on `per_class` labels a class, mean over `draws` draws of them; for each of `fractions` the same on that part of the
    labels, as `probe_1_percent_accuracy`. Where there are `episodes`, few-shot accuracy on what is evaluated, with half the width
    of its 95% interval.

    What needs labels is measured on the rows of `probed_rows`, and left out where there are none.

    Measuring refuses a network without that tap (InputError).

    Args:
      per_class: labels a class for the offline probe. 2 or more choose among themselves C, or the rate of SGD; with 1 it is fixed.
      draws: draws of the labels.
      fractions: parts of the labels for further probes, the same of every class: 0.01 is 1%.
      solver: of `linear_probe`: `"lbfgs"` or `"sgd"`.
      neighbours: k of kNN.
      episodes: tasks of `few_shot_accuracy`, papers have 600; 0: none.
      ways: classes a task.
      shots: rows a class to learn from.
      queries: rows a class to be tested on.
      images: the data set, for the same probes on raw pixels as a floor (`pixels_probe_accuracy`); None leaves them out.
    """
    drawn: dict[str, tuple[Callable, float]] = {"probe": (few_labels, per_class)}
    drawn |= {f"probe_{100 * part:g}_percent": (label_fraction, part) for part in fractions}

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        outputs, columns = collect(split, "pooled", "logits")
        trained, trained_columns = collect("train", "pooled")
        labels, train_labels = columns["label"], trained_columns["label"]
        network = next(iter(outputs))
        taps = outputs[network]
        if "pooled" not in taps:
            raise InputError(
                f"network {network!r} has no tap 'pooled', which is what a probe sees: expected an encoder that gives it"
            )
        health = _health(taps["pooled"])
        rows = probed_rows(train_labels, labels)
        if rows is None:
            return health
        known = labels[rows.known] if rows.halved else train_labels[rows.known]
        features = taps["pooled"] if rows.halved else trained[network]["pooled"]
        pairs = [(a[rows.known], b[rows.scored]) for a, b in zip(features, taps["pooled"], strict=True)]
        labels = labels[rows.scored]
        measures: dict[str, Any] = {
            "knn_accuracy": [knn_accuracy(a, known, b, labels, classes=int(known.max()) + 1, k=neighbours) * 100 for a, b in pairs],
            **health,
        }
        if "logits" in taps:
            logits = np.asarray(taps["logits"])[:, rows.scored]
            measures["online_probe_accuracy"] = np.asarray(jax.vmap(lambda z: top_k(z, labels).mean())(logits)) * 100
        for name, (draw, size) in drawn.items() if final else ():
            found = [_probe(a, known, b, labels, draw, size, draws, solver) for a, b in pairs]
            measures |= {f"{name}_{what}": [one[what] for one in found] for what in ("accuracy", "ece")}
            if images is not None:
                measures[f"pixels_{name}_accuracy"] = [_floor(images, draw, size, draws, solver)] * len(pairs)
        if final and episodes:
            tasks = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes}
            intervals = [few_shot_accuracy(b, labels, **tasks) for _, b in pairs]
            measures["few_shot_accuracy"] = [100 * one.mean for one in intervals]
            measures["few_shot_half_interval"] = [100 * (one.high - one.mean) for one in intervals]
        return {name: np.asarray(value) for name, value in measures.items()}

    return measure


def check_representation(
    known: np.ndarray,
    scored: np.ndarray,
    *,
    per_class: int = 10,
    fractions: Sequence[float] = (),
    neighbours: int = 20,
    episodes: int = 0,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    **others: Any,
) -> None:
    """Refuses options of `representation` that do not fit the labels.

    Args:
      known: labels of the rows that probes learn from, integers `[N]`.
      scored: labels of those that are evaluated, integers `[M]`.
      per_class: as of `representation`, like the rest.
      fractions: parts.
      neighbours: k.
      episodes: tasks.
      ways: classes.
      shots: rows a class.
      queries: rows a class.
      **others: what fits any labels.

    Raises:
      InputError: one line that names the option.
    """
    few_labels(known, per_class, 0)
    for part in fractions:
        label_fraction(known, part, 0)
    check_option("neighbours", neighbours, lambda k: k <= len(known), f"1 to {len(known)}, the labelled images")
    if episodes:
        check_few_shot(scored, ways=ways, shots=shots, queries=queries, episodes=episodes)


class Probed(NamedTuple):
    """Which rows a probe learns from, and which it is scored on.

    Attributes:
      known: rows of the training images; with `halved`, of those that are evaluated.
      scored: rows of those that are evaluated.
      halved: whether no training image has a label, so that the evaluated ones are parted.
    """

    known: np.ndarray
    scored: np.ndarray
    halved: bool


def probed_rows(train_labels: np.ndarray, labels: np.ndarray) -> Probed | None:
    """The labelled training rows and all labelled rows to evaluate; where no training row has a label, a half of the latter each.

    Args:
      train_labels: of the training rows, `[N]`; -1 is none.
      labels: of the rows to evaluate, `[M]`. Halves are drawn class by class.

    Returns:
      Probed, or None where fewer than two classes are known: then there is nothing to tell apart.
    """
    known, scored = np.flatnonzero(train_labels >= 0), np.flatnonzero(labels >= 0)
    if known.size:
        return Probed(known, scored, False) if scored.size and len(np.unique(train_labels[known])) > 1 else None
    if len(np.unique(labels[scored])) < 2 or np.unique(labels[scored], return_counts=True)[1].min() < 2:
        return None
    kept, cut = stratified(labels[scored], 0.5, seed=0, stream=PROBE_SPLIT)
    return Probed(scored[kept], scored[cut], True)


def _health(features: np.ndarray) -> dict[str, np.ndarray]:
    """Of `[members, N, D]`, one number a member."""
    sample = features[:, spread_rows(features.shape[1], SAMPLE)]
    measures = {"rank_me": (rank_me, features), "feature_spread": (feature_spread, features), "uniformity": (uniformity, sample)}
    return {name: np.asarray([f(x) for x in rows]) for name, (f, rows) in measures.items()}


def _probe(train, known, test, labels, draw, size, draws, solver) -> dict[str, float]:
    """Percent, mean over the draws of known rows."""
    found = []
    for seed in range(draws):
        rows = draw(known, size, seed)
        single = np.unique(known[rows], return_counts=True)[1].min() < 2
        options = SINGLE[solver] if single else {}
        found.append(linear_probe(train[rows], known[rows], test, labels, solver=solver, **options))
        if len(rows) == len(known):
            break
    return {name: 100 * float(np.mean([one[name] for one in found])) for name in ("accuracy", "ece")}


@lru_cache(maxsize=16)  # every encoder of a run has the same
def _floor(images: Dataset, draw: Callable, size: float, draws: int, solver: str) -> float:
    """The accuracy of the same probe on raw pixels."""
    labels, train_labels = images.test.labels(), images.train.labels()
    rows = probed_rows(train_labels, labels)
    assert rows is not None
    learnt, known = (images.test, labels) if rows.halved else (images.train, train_labels)
    train, test = _pixels(learnt, rows.known), _pixels(images.test, rows.scored)
    return _probe(train, known[rows.known], test, labels[rows.scored], draw, size, draws, solver)["accuracy"]


def _pixels(source: Source, rows: np.ndarray) -> np.ndarray:
    return source.read(rows)["image"].reshape(len(rows), -1) / 255.0
