"""What an encoder is worth for other tasks than the one it learnt on."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError
from kdjax.data import few_labels
from kdjax.evaluate.few_shot import few_shot_accuracy
from kdjax.evaluate.knn import knn_accuracy
from kdjax.evaluate.probe import linear_probe
from kdjax.evaluate.transfer import GRID
from kdjax.evaluate.transferability import h_score, leep, log_me


def on_task(
    name: str,
    *,
    per_class: int = 0,
    draws: int = 1,
    grid: Sequence[float] = GRID,
    neighbours: int = 20,
    episodes: int = 600,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    scores: bool = False,
    digest: str = "",
) -> Callable:
    """Makes the measure of an encoder by one task, on its tap `"pooled"`, at the end.

    A task is two splits, `<name>/train` with labels to learn from, and `<name>/test` (or what else is evaluated). In percent:
    `<name>_probe_accuracy` of a linear probe, C chosen on folds of what it learns from; `<name>_knn_accuracy` of weighted nearest
    neighbours among all rows to learn from; and, where there are episodes, `<name>_few_shot_accuracy` of prototypes, whose few
    rows and queries both come from what is evaluated.

    With `scores` also what foretells such an accuracy without training, from the rows to learn from: `<name>_h_score`,
    `<name>_log_me` and, of a network with the tap `"logits"`, `<name>_leep`.

    Args:
      name: of the task; measures begin with it.
      per_class: labels a class of the probe, 2 or more; 0: all rows.
      draws: of these labels; the accuracy is their mean.
      grid: of C.
      neighbours: k of kNN.
      episodes: tasks of `few_shot_accuracy`; 0: none.
      ways: classes of one.
      shots: rows a class to learn from.
      queries: rows a class to be tested on.
      scores: whether to compute them.
      digest: of the rows: the measure of other ones is another measure.

    Reference:
      Linus Ericsson, Henry Gouk, Timothy M. Hospedales, "How Well Do Self-Supervised Models Transfer?", CVPR 2021,
      arXiv:2011.13377: many-shot linear probes and few-shot prototypes.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        _ = digest  # held by the closure, it is a part of what the measure is
        if not final:
            return {}
        (taps, known), (test, labels) = (_taps(collect, f"{name}/{part}") for part in ("train", split))
        pairs = list(zip(taps["pooled"], test["pooled"], strict=True))
        classes = int(max(known.max(), labels.max())) + 1
        measures: dict[str, Any] = {
            "probe_accuracy": [_probe(a, known, b, labels, per_class, draws, grid) for a, b in pairs],
            "knn_accuracy": [
                knn_accuracy(a, jnp.asarray(known), b, jnp.asarray(labels), classes=classes, k=neighbours) for a, b in pairs
            ],
        }
        if episodes:
            options = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes}
            measures["few_shot_accuracy"] = [few_shot_accuracy(b, labels, **options).mean for _, b in pairs]
        found = {what: 100 * np.asarray(values) for what, values in measures.items()}
        if scores:
            found |= {what: np.asarray([f(a, known) for a, _ in pairs]) for what, f in (("h_score", h_score), ("log_me", log_me))}
            if "logits" in taps:
                found["leep"] = np.asarray([leep(jax.nn.softmax(jnp.asarray(z)), known) for z in taps["logits"]])
        return {f"{name}_{what}": values for what, values in found.items()}

    return measure


def _taps(collect: Callable, split: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of the first network, and the labels."""
    outputs, columns = collect(split, "pooled", "logits")
    network, taps = next(iter(outputs.items()))
    if "pooled" not in taps:
        raise InputError(f"network {network!r} has no tap 'pooled', which is what a probe sees: expected an encoder that gives it")
    return taps, columns["label"]


def _probe(train, known, test, labels, per_class, draws, grid) -> float:
    """A part of 1, the mean over draws."""
    drawn = [few_labels(known, per_class, seed) for seed in range(draws)] if per_class else [np.arange(len(known))]
    return float(np.mean([linear_probe(train[rows], known[rows], test, labels, grid=grid)["accuracy"] for rows in drawn]))
