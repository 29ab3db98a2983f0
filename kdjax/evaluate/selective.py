"""How good a choice of images to label is: measured of a stage's encoder, by a probe that learns from the chosen ones alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core.check import check_option
from kdjax.evaluate.encoder import probed_rows
from kdjax.evaluate.probe import linear_probe
from kdjax.evaluate.selection import usl, uslt

WAYS = {
    "usl": "USL",
    "usl_density": "USL without its regulariser",
    "random": "random rows",
    "stratified": "as many rows of each class (knows all labels)",
}


class Chosen(NamedTuple):
    """What a choice of rows is worth.

    Attributes:
      accuracy: of a linear probe that learns from these rows, in percent.
      classes: how many occur among the rows.
      largest: how many rows the most frequent class has.
      smallest: how many rows the rarest class has, 0 where one is missing.
    """

    accuracy: float
    classes: float
    largest: float
    smallest: float


def selective(
    *, budgets: Sequence[int] = (10, 20, 40), draws: int = 5, k: int = 20, c: float = 1.0, options: Mapping[str, Any] | None = None
) -> Callable:
    """Makes the measure of choosing training images to label by an encoder's features, its tap `"pooled"`.

    For each budget and each of `WAYS`, at the end: `usl_10_accuracy` of logistic regression on the 10 labels that were chosen,
    scored on what is evaluated, and `usl_10_classes`, `usl_10_largest`, `usl_10_smallest` as in `Chosen`, each the mean over the
    draws. A draw is a seed of k-means, and of the rows that are taken at random, other ones for each member. Rows are chosen by the
    features that the probe sees; it has the same C for all choices, as few rows leave nothing to choose it by.

    Which rows can be chosen and which are scored say `probed_rows`; without labels nothing is measured.

    Args:
      budgets: how many labels can be paid for.
      draws: seeds.
      k: neighbours of the density, as of `usl`.
      c: of `linear_probe`.
      options: further ones of `usl`.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        pool = pool_of(collect, split) if final else None
        if pool is None:
            return {}
        measures: dict[str, Any] = {}
        for budget in budgets:
            for way in WAYS:
                each = []
                for member, features in enumerate(pool.features):
                    seeds = range(member * draws, (member + 1) * draws)
                    drawn = [_choose(way, features, pool.known, budget, seed, k, options or {}) for seed in seeds]
                    each.append(np.mean([pool.worth(member, rows, c) for rows in drawn], axis=0))
                measures |= _named(f"{way}_{budget}", each)
        return measures

    return measure


def selective_by_clusters(*, c: float = 1.0) -> Callable:
    """Makes the measure of choosing one training image of each learnt cluster, as `uslt` does.

    Of a method whose predictions hold the logits of all heads, the tap `"clusters"` `[B, H, K]` of the first network, and a
    network `"start"`, whose tap `"pooled"` the probe sees: so that the choice alone differs from that of other ways. At the end
    `uslt_accuracy`, `uslt_classes`, `uslt_largest` and `uslt_smallest`, as in `selective`.

    Args:
      c: of `linear_probe`.
    """

    def measure(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
        used = {"used_clusters": _used_clusters(collect("train", "clusters")[0])}
        pool = pool_of(collect, split, network="start") if final else None
        if pool is None:
            return used
        chosen = [uslt(np.swapaxes(logits, 0, 1)) for logits in pool.clusters]
        each = [pool.worth(member, rows, c) for member, rows in enumerate(chosen)]
        return _named("uslt", each) | used

    return measure


class Pool(NamedTuple):
    """What can be chosen from, and what a probe is scored on.

    Attributes:
      features: of the rows to choose from, `[members, N, D]`.
      known: their labels, `[N]`.
      test: features `[members, M, D]`.
      labels: `[M]`.
      clusters: the tap `"clusters"` of the first network for the rows to choose from, `[members, N, H, K]`, or None.
    """

    features: np.ndarray
    known: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    clusters: Any = None

    def worth(self, member: int, rows: np.ndarray, c: float = 1.0) -> Chosen:
        """What a member's choice of rows is worth, by a probe with this C."""
        known, classes = self.known[rows], int(self.known.max()) + 1
        return worth(self.features[member][rows], known, self.test[member], self.labels, classes=classes, c=c)


def pool_of(collect: Callable, split: str, network: str = "") -> Pool | None:
    """What can be chosen from and what is scored, by `probed_rows`; None where labels are not known.

    Args:
      collect: of a stage.
      split: what is evaluated.
      network: whose tap `"pooled"` the features are; empty: the first one's.
    """
    (trained, train_columns), (outputs, columns) = (collect(name, "pooled", "clusters") for name in ("train", split))
    rows = probed_rows(train_columns["label"], columns["label"])
    if rows is None:
        return None
    first = next(iter(outputs))
    seen, known = (outputs, columns) if rows.halved else (trained, train_columns)
    features, test = seen[network or first]["pooled"], outputs[network or first]["pooled"]
    clusters = seen[first]["clusters"][:, rows.known] if "clusters" in seen[first] else None
    known, labels = known["label"][rows.known], columns["label"][rows.scored]
    return Pool(features[:, rows.known], known, test[:, rows.scored], labels, clusters)


def worth(features: np.ndarray, known: np.ndarray, test: np.ndarray, labels: np.ndarray, *, classes: int, c: float = 1.0) -> Chosen:
    """What a choice of rows is worth. Where all of them are of one class, every answer is that class.

    Args:
      features: of the chosen rows, `[n, D]`.
      known: their labels, integers `[n]`.
      test: features `[M, D]`.
      labels: integers `[M]`.
      classes: how many there are.
      c: of `linear_probe`.

    >>> x, y = np.array([[0.0], [1.0]]), np.array([0, 1])
    >>> worth(x, y, x, y, classes=3)
    Chosen(accuracy=100.0, classes=2.0, largest=1.0, smallest=0.0)
    """
    counts = np.bincount(known, minlength=classes)
    several = np.count_nonzero(counts) > 1
    right = linear_probe(features, known, test, labels, c=c)["accuracy"] if several else float(np.mean(labels == known[0]))
    return Chosen(100 * right, float(np.count_nonzero(counts)), float(counts.max()), float(counts.min()))


def stratified_rows(labels: np.ndarray, budget: int, *, seed: int) -> np.ndarray:
    """Rows of which every class has as many as the others, or one more where the budget cannot be shared.

    Args:
      labels: integers `[N]`.
      budget: how many rows, 1 to N.
      seed: which rows, and which classes have one more.

    Returns:
      Row numbers `[budget]`; where a class has no more rows, the others give more.

    Raises:
      InputError: for another budget.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> sorted(labels[stratified_rows(labels, 4, seed=0)].tolist())
    [0, 0, 1, 1]
    """
    check_option("budget", budget, lambda n: 1 <= n <= len(labels), f"1 to {len(labels)}, the number of rows")
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    # The rank of a row among those of its class: all first ones come before all second ones.
    ranks = np.empty(len(labels), int)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        ranks[own] = np.arange(len(own))
    return order[np.argsort(ranks[order], kind="stable")][:budget]


def _choose(way, features, labels, budget, seed, k, options) -> np.ndarray:
    if way == "random":
        return np.random.default_rng(seed).choice(len(labels), budget, replace=False)
    if way == "stratified":
        return stratified_rows(labels, budget, seed=seed)
    weight = {"weight": 0.0} if way == "usl_density" else {}
    return usl(jax.random.key(seed), features, budget=budget, k=k, **{**options, **weight})


def _named(name: str, each: Sequence[Sequence[float]]) -> dict[str, np.ndarray]:
    return {f"{name}_{what}": np.asarray(value) for what, value in zip(Chosen._fields, np.transpose(each), strict=True)}


def _used_clusters(outputs: Mapping[str, Any]) -> np.ndarray:
    """How many clusters of the first head have an image, a number a member."""
    logits = next(iter(outputs.values()))["clusters"]
    return np.asarray([len(np.unique(x[:, 0].argmax(-1))) for x in logits], float)
