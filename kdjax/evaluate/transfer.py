"""What features are worth where they were learnt, and for a task that they have not seen."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError
from kdjax.data import few_labels
from kdjax.evaluate.classification import top_k
from kdjax.evaluate.probe import linear_probe

GRID = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of C: the larger the features, the smaller it has to be


def transfer(
    *, per_class: Sequence[int] = (5, 10, 20), draws: int = 2, grid: Sequence[float] = GRID, together: Sequence[int] = ()
) -> Callable:
    """Makes the measure of features by two tasks: linear probes at the end, C chosen for each on folds of what it learns from.

    `source_accuracy`: on all rows of the split `"train"`, scored on what is evaluated. For each of `per_class`,
    `target_5_accuracy`: on 5 rows a class of the split `"target_train"`, scored on `"target_test"`, the mean over draws of these
    rows. A probe shifts and scales every feature, and so every net's block of them, to mean 0 and deviation 1.

    The features are the tap `"pooled"` of the first network. With `together`, of a network that holds several nets, as
    `models.ensemble` and `models.concatenated` do: for each of these numbers n the features of n nets in a row, under names like
    `cat4_source_accuracy`; for the largest multiple of n that there is, n by n, and the mean over these.

    Args:
      per_class: labels a class of the second task, 2 or more.
      draws: of these rows.
      grid: of C.
      together: how many nets in a row; (): the features are one.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        if not final:
            return {}
        names = ("train", split, "target_train", f"target_{split}")
        found = {name: _blocks(collect, name, max(together, default=0)) for name in names}
        measures = {}
        for n in together or (0,):
            prefix, count = (f"cat{n}_", len(found["train"][0]) // n) if n else ("", 1)
            each = [
                _accuracies({name: (_row(blocks, k, n), y) for name, (blocks, y) in found.items()}, split, per_class, draws, grid)
                for k in range(count)
            ]
            measures |= {prefix + what: np.mean([one[what] for one in each], axis=0) for what in each[0]}
        return measures

    return measure


def target_accuracy(*, each: bool = False) -> Callable:
    """Makes the measure of classifiers of the second task: `accuracy` on the split `target_<split>`, in percent.

    Args:
      each: also that of each of the nets that the network holds, the mean over them: `net_accuracy`.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        taps, labels = _taps(collect, f"target_{split}", "logits")
        measures = {"accuracy": _right(taps["logits"], labels)}
        if each:
            nets = [x for name, x in taps.items() if name.startswith("teacher")]
            measures["net_accuracy"] = np.mean([_right(x, labels) for x in nets], axis=0)
        return measures

    return measure


def _right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(lambda z: top_k(z, jnp.asarray(labels)).mean())(logits)) * 100


def _taps(collect: Callable, split: str, tap: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The tap of the first network and of the nets that it holds, and the labels."""
    most = 64
    outputs, columns = collect(split, tap, *(f"teacher{k}/{tap}" for k in range(most)))
    return next(iter(outputs.values())), columns["label"]


def _blocks(collect: Callable, split: str, wanted: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The features `[members, N, D]` of each net, or those of the network as one, and the labels."""
    taps, labels = _taps(collect, split, "pooled")
    if not wanted and "pooled" in taps:
        return [taps["pooled"]], labels
    nets = [x for name, x in taps.items() if name.startswith("teacher")]
    if not nets or len(nets) < wanted:
        raise InputError(f"the network holds {len(nets)} nets with a tap 'pooled': expected {wanted or 'features of its own'}")
    return nets, labels


def _row(blocks: list[np.ndarray], k: int, n: int) -> np.ndarray:
    return np.concatenate(blocks[k * n : (k + 1) * n] if n else blocks, axis=-1)


def _accuracies(found, split, per_class, draws, grid) -> dict[str, np.ndarray]:
    """By name one number a member."""
    (train, known), (test, labels) = found["train"], found[split]
    (target, target_known), (target_test, target_labels) = found["target_train"], found[f"target_{split}"]

    def probe(a, y, b, z):
        return 100 * linear_probe(a, y, b, z, grid=grid)["accuracy"]

    measures = {"source_accuracy": np.asarray([probe(a, known, b, labels) for a, b in zip(train, test, strict=True)])}
    for size in per_class:
        drawn = [few_labels(target_known, size, seed) for seed in range(draws)]
        each = [
            np.mean([probe(a[rows], target_known[rows], b, target_labels) for rows in drawn])
            for a, b in zip(target, target_test, strict=True)
        ]
        measures[f"target_{size}_accuracy"] = np.asarray(each)
    return measures
