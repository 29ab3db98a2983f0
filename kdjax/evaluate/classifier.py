"""What is measured of a stage's classifiers: functions `(collect, split, final) -> {measure: [members]}`."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.evaluate.agreement import top1_agreement
from kdjax.evaluate.classification import brier, expected_calibration_error, negative_log_likelihood, top_k
from kdjax.evaluate.measure import same_kind


def classification(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """Accuracy, and at the end top-5, NLL, calibration error, Brier score and, where it has classes, agreement with the teacher.

    Accuracies, calibration error and agreement are in percent; NLL in nats; the Brier score from 0 to 2. The first network of
    `predict` gives the plain names, further ones are prefixed by theirs. Of logits `[N, ..., K]` with a label at each position, a
    position is what a row is otherwise.
    """
    outputs, columns = collect(split, "logits", given=final)
    labels = columns["label"].reshape(-1)
    encoder = "teacher" in outputs and not outputs["teacher"]  # which has no classes to agree with
    found = {name: taps["logits"] for name, taps in outputs.items() if not (encoder and name == "teacher")}
    logits = {name: z.reshape(len(z), -1, z.shape[-1]) for name, z in found.items()}
    teacher = logits.pop("teacher", None)
    measures = {}
    for i, (network, z) in enumerate(logits.items()):
        prefix = "" if i == 0 else f"{network}_"
        for name, value in _of_logits(z, labels, final).items():
            measures[prefix + name] = value
    if final and teacher is not None:
        measures["agreement"] = np.mean(jax.vmap(top1_agreement)(next(iter(logits.values())), teacher), -1) * 100
    return measures


def classification_together(specification: dict) -> Callable:
    """Makes the measure of networks that will answer together: `classification`, and at the end the accuracy of their ensemble.

    Args:
      specification: of the ensemble, for its weights.
    """
    share = models.normalised_weights(len(specification["nets"]), specification["weights"])

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        measures = classification(collect, split, final)
        if final:
            outputs, columns = collect(split, "logits")
            logits = jnp.tensordot(jnp.asarray(share), next(iter(outputs.values()))["logits"], 1)
            measures["ensemble_accuracy"] = np.full(len(share), top_k(logits, columns["label"]).mean() * 100)
        return measures

    return measure


def with_quantised(evaluate: Callable, precision: str, sizes: Mapping[str, float] | None = None) -> Callable:
    """Makes a measure that also tells how often a network names the same class as itself with its kernels quantised.

    Args:
      evaluate: the measure of the network.
      precision: of the kernels, the name in `predict` of that network.
      sizes: further measures, told at the end, that are the same for every member.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        measures = evaluate(collect, split, final)
        outputs, _ = collect(split, "logits")
        whole, quantised = next(iter(outputs.values()))["logits"], outputs[precision]["logits"]
        agreement = np.mean(jax.vmap(top1_agreement)(whole, quantised), -1) * 100
        constant = {name: np.full(len(agreement), value) for name, value in (sizes or {}).items() if final}
        return measures | {f"{precision}_agreement": agreement} | constant

    return measure


def near_chance(measures: Mapping[str, Sequence[float]], classes: int) -> bool:
    """Whether a network, of one member, is right hardly more often than a guess: less than twice as often.

    Args:
      measures: values by name, of test images.
      classes: how many.

    >>> near_chance({"test_accuracy": [19.0]}, 10), near_chance({"test_fid": [19.0]}, 10)
    (True, False)
    """
    return "test_accuracy" in measures and measures["test_accuracy"][0] < 2 * 100 / classes


def sampling_error(result: str, percent: float | None, rows: int) -> float | None:
    """By how many points so few rows leave an accuracy uncertain: 1.96 standard errors of a share.

    Args:
      result: its name; for what is no share of rows that are right there is no such number.
      percent: its value.
      rows: of the set it was measured on.

    >>> sampling_error("test_accuracy", 50.0, 100), sampling_error("test_fid", 50.0, 100)
    (9.8, None)
    """
    if not same_kind(result, "accuracy") or percent is None:
        return None
    share = min(max(percent / 100, 0), 1)
    return float(196 * np.sqrt(share * (1 - share) / rows))


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
