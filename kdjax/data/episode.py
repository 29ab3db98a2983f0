"""Batches of few-shot tasks."""

from typing import Any

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data.sampler import EPISODES, Sampler, shuffled


def episodes(labels: np.ndarray, *, way: int, shot: int, query: int, episodes: int = 1) -> Sampler:
    """Draws tasks of `way` classes with `shot` rows to learn from and `query` other rows to be tested on.

    The rows of a task lie together: first the support, class by class (`way * shot` rows), then the queries, class by
    class (`way * query` rows); `support_and_query` cuts them apart. Within a task no row comes twice. Task number i of a
    seed is the same however many tasks a step has.

    Args:
      labels: the class of every row of the set, integers `[N]`, 0 or more.
      way: classes a task, 2 or more.
      shot: support rows a class, 1 or more.
      query: query rows a class, 1 or more.
      episodes: tasks a step, 1 or more.

    Returns:
      A Sampler of `episodes * way * (shot + query)` rows a step, with a task as its group. Nothing is gone through as a
      whole, so each step counts as an epoch: a row that comes again is augmented anew.

    Raises:
      InputError: for a class with too few rows, more ways than classes, or a row without label.

    Reference:
      Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, arXiv 1606.04080.

    >>> sampler = episodes(np.arange(30) % 3, way=2, shot=1, query=4)
    >>> sampler.rows(0, 0).shape, sampler.batch
    ((10,), 10)
    """
    for name, value, least in (("way", way, 2), ("shot", shot, 1), ("query", query, 1), ("episodes", episodes, 1)):
        check_option(name, value, lambda n, least=least: n >= least, f"{least} or more")
    labels = np.asarray(labels)
    if labels.size and labels.min() < 0:
        raise InputError(f"labels hold {labels.min()}: episodes need a label of 0 or more for every row")
    members = {int(c): np.flatnonzero(labels == c).astype(np.int32) for c in np.unique(labels)}
    if way > len(members):
        raise InputError(f"way={way} is not accepted: expected 2 to {len(members)}, the classes of the set")
    for c, own in members.items():
        if len(own) < shot + query:
            raise InputError(f"class {c} has {len(own)} rows: an episode takes shot + query = {shot} + {query} = {shot + query}")
    classes = np.array(list(members))

    def task(seed, number):
        chosen = classes[shuffled(len(classes), seed, number, EPISODES)[:way]]
        drawn = [members[c][shuffled(len(members[c]), seed, number, EPISODES, c + 1)[: shot + query]] for c in chosen.tolist()]
        support, queries = np.split(np.stack(drawn), [shot], axis=1)
        return np.concatenate([support.reshape(-1), queries.reshape(-1)])

    def rows(seed, step):
        check_option("step", step, lambda s: s >= 0, "0 or more")
        return np.concatenate([task(seed, step * episodes + e) for e in range(episodes)])

    size = way * (shot + query)
    return Sampler(rows, lambda step: int(step), episodes * size, size)


def support_and_query(batch: dict[str, Any], *, way: int, shot: int, query: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cuts a batch of `episodes` into support and queries; works inside `jit`.

    Args:
      batch: arrays with one leading axis `[E * way * (shot + query), ...]`: the tasks of a step, or a process's share.
      way: as in `episodes`.
      shot: as in `episodes`.
      query: as in `episodes`.

    Returns:
      `(support, query)`: the same names, `[E, way * shot, ...]` and `[E, way * query, ...]`, and beside them `"way"`, int32
      of the same two axes: the class within the task, 0 to way - 1.

    Raises:
      InputError: when the batch does not hold whole tasks.

    >>> support, query = support_and_query({"label": np.array([7, 4, 7, 7, 4, 4])}, way=2, shot=1, query=2)
    >>> support["label"].tolist(), support["way"].tolist(), query["label"].tolist(), query["way"].tolist()
    ([[7, 4]], [[0, 1]], [[7, 7, 4, 4]], [[0, 0, 1, 1]])
    """
    size, cut = way * (shot + query), way * shot

    def tasks(name, x):
        if len(x) % size:
            raise InputError(f"{name} has {len(x)} rows: expected whole episodes of way * (shot + query) = {size}")
        return x.reshape(len(x) // size, size, *x.shape[1:])

    whole = {name: tasks(name, x) for name, x in batch.items()}
    count = len(next(iter(whole.values())))

    def part(where, each):
        ways = np.broadcast_to(np.repeat(np.arange(way, dtype=np.int32), each), (count, way * each))
        return {**{name: x[:, where] for name, x in whole.items()}, "way": ways}

    return part(slice(None, cut), shot), part(slice(cut, None), query)
