"""What is measured of a stage's classifiers: functions `(collect, split, final) -> {measure: [members]}`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.evaluate.agreement import top1_agreement
from kdjax.evaluate.classification import brier, expected_calibration_error, negative_log_likelihood, top_k


def classification(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """Accuracy, and at the end top-5, NLL, calibration error, Brier score and agreement with the teacher.

    Accuracies, calibration error and agreement are in percent; NLL in nats; the Brier score from 0 to 2. The first network of
    `predict` gives the plain names, further ones are prefixed by theirs.
    """
    outputs, columns = collect(split, "logits", given=final)
    labels, teacher = columns["label"], outputs.pop("teacher", None)
    measures = {}
    for i, (network, taps) in enumerate(outputs.items()):
        prefix = "" if i == 0 else f"{network}_"
        for name, value in _of_logits(taps["logits"], labels, final).items():
            measures[prefix + name] = value
    if final and teacher is not None:
        first = next(iter(outputs.values()))["logits"]
        measures["agreement"] = np.mean(jax.vmap(top1_agreement)(first, teacher["logits"]), -1) * 100
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
            outputs, columns = collect(split, "logits")
            logits = jnp.tensordot(jnp.asarray(share), next(iter(outputs.values()))["logits"], 1)
            measures["ensemble_accuracy"] = np.full(len(share), top_k(logits, columns["label"]).mean() * 100)
        return measures

    return measure


def _of_logits(logits, labels, final):
    def over(f):
        return np.asarray(jax.vmap(lambda z: f(z, labels).mean())(logits))

    measures = {"accuracy": over(top_k) * 100}
    if final:
        if logits.shape[-1] > 5:
            measures["top5_accuracy"] = over(lambda z, y: top_k(z, y, k=5)) * 100
        measures["nll"] = over(negative_log_likelihood)
        measures["ece"] = over(expected_calibration_error) * 100
        measures["brier"] = over(brier)
    return measures
