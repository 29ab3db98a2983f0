"""What is measured of a stage's networks: functions `(collect, split, final) -> {measure: [members]}`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import evaluate, models
from kdjax.data import Dataset, Source, few_labels


def classification(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """Accuracy, and at the end top-5, NLL, calibration error, Brier score and agreement with the teacher.

    Accuracies, calibration error and agreement are in percent; NLL in nats; the Brier score from 0 to 2. The first network of
    `predict` gives the plain names, further ones are prefixed by theirs.
    """
    outputs, labels = collect(split, "logits", given=final)
    teacher = outputs.pop("teacher", None)
    measures = {}
    for i, (network, taps) in enumerate(outputs.items()):
        prefix = "" if i == 0 else f"{network}_"
        for name, value in _of_logits(taps["logits"], labels, final).items():
            measures[prefix + name] = value
    if final and teacher is not None:
        first = next(iter(outputs.values()))["logits"]
        measures["agreement"] = np.mean(jax.vmap(evaluate.top1_agreement)(first, teacher["logits"]), -1) * 100
    return measures


def classification_together(specification: dict) -> Callable:
    """Makes the measure of networks that will answer together: `classification`, and at the end the accuracy of their ensemble.

    Args:
      specification: of the ensemble, for its weights.
    """
    share = models.shares(len(specification["nets"]), specification["weights"])

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        measures = classification(collect, split, final)
        if final:
            outputs, labels = collect(split, "logits")
            logits = jnp.tensordot(jnp.asarray(share), next(iter(outputs.values()))["logits"], 1)
            measures["ensemble_accuracy"] = np.full(len(share), evaluate.top_k(logits, labels).mean() * 100)
        return measures

    return measure


def representation(*, per_class: int = 10, draws: int = 5, neighbours: int = 20, images: Dataset | None = None) -> Callable:
    """Makes the measure of a self-supervised encoder: the tap `"pooled"`, before any projector.

    While training: weighted kNN, the effective dimension of the features and, where there is one, the online probe. At the end
    also a linear probe by logistic regression on `per_class` labels a class, mean over `draws` draws of them.

    Args:
      per_class: labels a class for the offline probe.
      draws: draws of the labels.
      neighbours: k of kNN.
      images: the data set, for the same probe on raw pixels as a floor (`pixels_probe_accuracy`); None leaves it out.
    """

    def probe(train, train_labels, test, labels):
        return np.mean([_probe(train, train_labels, test, labels, per_class, draw) for draw in range(draws)])

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        outputs, labels = collect(split, "pooled", "logits")
        trained, train_labels = collect("train", "pooled")
        network = next(iter(outputs))
        taps, train = outputs[network], trained[network]["pooled"]
        measures: dict[str, Any] = {
            "knn_accuracy": [
                evaluate.knn_accuracy(a, train_labels, b, labels, classes=int(train_labels.max()) + 1, k=neighbours) * 100
                for a, b in zip(train, taps["pooled"], strict=True)
            ],
            "rank_me": [evaluate.rank_me(x) for x in taps["pooled"]],
        }
        if "logits" in taps:
            measures["online_probe_accuracy"] = _of_logits(taps["logits"], labels, False)["accuracy"]
        if final:
            pairs = list(zip(train, taps["pooled"], strict=True))
            measures["probe_accuracy"] = [probe(a, train_labels, b, labels) for a, b in pairs]
            if images is not None:
                floor = probe(_pixels(images.train), train_labels, _pixels(images.test), labels)
                measures["pixels_probe_accuracy"] = [floor] * len(pairs)
        return {name: np.asarray(value) for name, value in measures.items()}

    return measure


def _probe(train, train_labels, test, labels, per_class, draw):
    rows = few_labels(train_labels, per_class, draw)
    return evaluate.linear_probe(train[rows], train_labels[rows], test, labels)["accuracy"] * 100


def _pixels(source: Source) -> np.ndarray:
    return source.read(np.arange(source.size))["image"].reshape(source.size, -1) / 255.0


def _of_logits(logits, labels, final):
    def over(f):
        return np.asarray(jax.vmap(lambda z: f(z, labels).mean())(logits))

    measures = {"accuracy": over(evaluate.top_k) * 100}
    if final:
        if logits.shape[-1] > 5:
            measures["top5_accuracy"] = over(lambda z, y: evaluate.top_k(z, y, k=5)) * 100
        measures["nll"] = over(evaluate.negative_log_likelihood)
        measures["ece"] = over(evaluate.expected_calibration_error) * 100
        measures["brier"] = over(evaluate.brier)
    return measures
