"""What is measured of a stage's encoders, which have no classes: functions `(collect, split, final) -> {measure: [members]}`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.data import Dataset, Source, few_labels
from kdjax.data.sampler import PROBE_SPLIT
from kdjax.data.split import stratified
from kdjax.evaluate.classification import top_k
from kdjax.evaluate.health import rank_me
from kdjax.evaluate.knn import knn_accuracy
from kdjax.evaluate.probe import linear_probe


def representation(*, per_class: int = 10, draws: int = 5, neighbours: int = 20, images: Dataset | None = None) -> Callable:
    """Makes the measure of a self-supervised encoder: the tap `"pooled"`, before any projector.

    While training: weighted kNN, the effective dimension of the features and, where there is one, the online probe. At the end
    also a linear probe by logistic regression on `per_class` labels a class, mean over `draws` draws of them. What needs labels
    is measured on the rows of `probed_rows`, and left out where there are none.

    Args:
      per_class: labels a class for the offline probe.
      draws: draws of the labels.
      neighbours: k of kNN.
      images: the data set, for the same probe on raw pixels as a floor (`pixels_probe_accuracy`); None leaves it out.
    """

    def probe(train, train_labels, test, labels):
        return np.mean([_probe(train, train_labels, test, labels, per_class, draw) for draw in range(draws)])

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        outputs, columns = collect(split, "pooled", "logits")
        trained, trained_columns = collect("train", "pooled")
        labels, train_labels = columns["label"], trained_columns["label"]
        network = next(iter(outputs))
        taps = outputs[network]
        ranks = [rank_me(x) for x in taps["pooled"]]
        rows = probed_rows(train_labels, labels)
        if rows is None:
            return {"rank_me": np.asarray(ranks)}
        known = labels[rows.known] if rows.halved else train_labels[rows.known]
        features = taps["pooled"] if rows.halved else trained[network]["pooled"]
        pairs = [(a[rows.known], b[rows.scored]) for a, b in zip(features, taps["pooled"], strict=True)]
        labels = labels[rows.scored]
        measures: dict[str, Any] = {
            "knn_accuracy": [knn_accuracy(a, known, b, labels, classes=int(known.max()) + 1, k=neighbours) * 100 for a, b in pairs],
            "rank_me": ranks,
        }
        if "logits" in taps:
            logits = np.asarray(taps["logits"])[:, rows.scored]
            measures["online_probe_accuracy"] = np.asarray(jax.vmap(lambda z: top_k(z, labels).mean())(logits)) * 100
        if final:
            measures["probe_accuracy"] = [probe(a, known, b, labels) for a, b in pairs]
            if images is not None:
                floor = _pixels(images.test if rows.halved else images.train)[rows.known], known
                measures["pixels_probe_accuracy"] = [probe(*floor, _pixels(images.test)[rows.scored], labels)] * len(pairs)
        return {name: np.asarray(value) for name, value in measures.items()}

    return measure


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


def _probe(train, train_labels, test, labels, per_class, draw):
    rows = few_labels(train_labels, per_class, draw)
    return linear_probe(train[rows], train_labels[rows], test, labels)["accuracy"] * 100


def _pixels(source: Source) -> np.ndarray:
    return source.read(np.arange(source.size))["image"].reshape(source.size, -1) / 255.0
