"""Few-shot classification by prototypes, without any training.

Arrays of other shapes raise `InputError`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import data
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.evaluate.intervals import Interval


def few_shot_accuracy(
    features: jax.Array,
    labels: np.ndarray,
    *,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    episodes: int = 600,
    seed: int = 0,
) -> Interval:
    """How often a query lies nearest to the prototype of its class, over random tasks of a few classes.

    A task draws `ways` classes, and of each `shots` rows whose mean is its prototype and `queries` others; a query is given the
    class whose prototype has the smallest |query - prototype|^2. The interval is mean +- 1.96 s / sqrt(episodes), with s the
    standard deviation of the tasks' accuracies (their number in the denominator).

    Args:
      features: `[N, D]`, as they are.
      labels: the class of every row, integers `[N]`, 0 or more.
      ways: classes a task, 2 or more.
      shots: rows a class to learn from, 1 or more.
      queries: rows a class to be tested on, 1 or more.
      episodes: tasks, 2 or more.
      seed: of the tasks, which are those of `kdjax.data.episodes`.

    Returns:
      `(mean, low, high)`, parts of 1.

    Raises:
      InputError: for an option out of range, more ways than classes, or a class with too few rows.

    Reference:
      Jake Snell, Kevin Swersky, Richard Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, arXiv:1703.05175; the
      protocol of Linus Ericsson, Henry Gouk, Timothy M. Hospedales, "How Well Do Self-Supervised Models Transfer?", CVPR 2021,
      arXiv:2011.13377.

    >>> few_shot_accuracy(jnp.eye(2)[jnp.arange(40) % 2], np.arange(40) % 2, ways=2, shots=1, episodes=10)
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    check_shapes("N", check_shapes("N D", features=features), labels=labels)
    check_few_shot(labels, ways=ways, shots=shots, queries=queries, episodes=episodes)
    sampler = data.episodes(labels, way=ways, shot=shots, query=queries)
    rows = {"row": np.concatenate([sampler.rows(seed, number) for number in range(episodes)])}
    parts = data.support_and_query(rows, way=ways, shot=shots, query=queries)
    support, asked = (part["row"].reshape(episodes, ways, -1) for part in parts)
    each = np.asarray(_accuracies(jnp.asarray(features), support, asked), np.float64)
    mean, half = each.mean(), 1.96 * each.std() / np.sqrt(episodes)
    return Interval(float(mean), float(mean - half), float(mean + half))


def check_few_shot(labels: np.ndarray, *, ways: int, shots: int, queries: int, episodes: int) -> None:
    """Refuses options of `few_shot_accuracy` that do not fit the labels.

    Args:
      labels: integers `[N]`.
      ways: as there, like the rest.
      shots: to learn from.
      queries: to be tested on.
      episodes: tasks.

    Raises:
      InputError: one line that names the option.
    """
    for name, value in (("shots", shots), ("queries", queries)):
        check_option(name, value, lambda n: n >= 1, "1 or more")
    check_option("episodes", episodes, lambda n: n >= 2, "2 or more")
    classes, counts = np.unique(labels, return_counts=True)
    check_option("ways", ways, lambda n: 2 <= n <= len(classes), f"2 to {len(classes)}, the classes of the set")
    if counts.min() < shots + queries:
        few = f"class {classes[counts.argmin()]} has {counts.min()} rows"
        raise InputError(f"shots={shots} is not accepted with queries={queries}: {few}, and a task takes {shots + queries}")


@jax.jit
def _accuracies(features, support, asked):
    """Of every task: rows to learn from `[E, W, S]`, rows to be tested on `[E, W, Q]`."""
    right = jnp.arange(support.shape[1])[:, None]

    def one(rows):
        learnt, tested = (features[x].astype(jnp.float32) for x in rows)
        prototypes = jnp.mean(learnt, axis=1)
        distances = jnp.sum(jnp.square(tested[:, :, None] - prototypes[None, None]), axis=-1)
        return jnp.mean(jnp.argmin(distances, axis=-1) == right)

    return jax.lax.map(one, (support, asked), batch_size=16)
