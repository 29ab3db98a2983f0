"""Many hyperparameters in one program: the swept numbers are part of the State."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError, Method, check_option
from kdjax.core.paths import is_single


class Swept(NamedTuple):
    """A State together with the numbers its method was built with."""

    hyper: dict[str, jax.Array]
    inner: Any


def sweep(
    make: Callable[..., Method], grid: Mapping[str, Sequence[float]], seeds: int = 1, *, first: Method | None = None
) -> tuple[Method, dict]:
    """One method for every point of a grid: run it with as many members as there are points and seeds.

    Args:
      make: `(**numbers) -> Method`, built anew from traced numbers inside each step: a learning rate, a temperature, a weight.
      grid: values by name; every combination is a point.
      seeds: members for each point, next to each other; `Stage.seeds` takes the same number.
      first: the method at `first_point(grid)`, where it is made already.

    Returns:
      `(method, hyper)`: `hyper` holds one value a member by name, for `Stage.hyper`.

    Raises:
      InputError: as `first_point`, and for a point that `make` refuses. What a method checks in its step is checked with traced
        numbers, that is not at all: trace a step at every one of `points_to_check(hyper)`.

    >>> import optax
    >>> from kdjax import methods, models
    >>> net = models.conv_net((4,))
    >>> _, hyper = sweep(lambda rate: methods.supervised(net, optax.sgd(rate)), {"rate": [0.1, 0.2]}, seeds=2)
    >>> hyper["rate"].tolist()
    [0.1, 0.1, 0.2, 0.2]
    """
    plain = first or make(**first_point(grid))
    points = np.repeat(list(product(*grid.values())), seeds, axis=0)
    hyper = dict(zip(grid, points.T, strict=True))
    for point in points_to_check(hyper)[1:]:
        with at_point(point):
            make(**point)

    def init(key, batch, given):
        return Swept({name: jnp.float32(values[0]) for name, values in grid.items()}, plain.init(key, batch, given))

    def step(state, batch, key):
        inner, metrics = make(**state.hyper).step(state.inner, batch, key)
        return Swept(state.hyper, inner), metrics

    def predict(state, inputs):
        return plain.predict(state.inner, inputs)

    def weights(state):
        return plain.weights(state.inner)

    return Method(init, step, predict, weights, plain.needs), hyper


def first_point(grid: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The first value of each name.

    Raises:
      InputError: for a value that is not finite or comes twice.

    >>> first_point({"rate": [0.1, 0.2]})
    {'rate': 0.1}
    """
    for name, values in grid.items():
        good = len(values) > 0 and all(map(is_single, values)) and len(set(values)) == len(values)
        check_option(name, tuple(values), lambda _, good=good: good, "one finite number of single precision or more, each once")
    return {name: values[0] for name, values in grid.items()}


def members_by_point(hyper: Mapping[str, np.ndarray]) -> list[tuple[dict[str, float], list[int]]]:
    """The points of a sweep with their members, in order.

    Args:
      hyper: one value a member by name, as `sweep` gives them.

    >>> members_by_point({"rate": np.array([0.1, 0.1, 0.2, 0.2])})
    [({'rate': 0.1}, [0, 1]), ({'rate': 0.2}, [2, 3])]
    """
    members: dict[tuple, list[int]] = {}
    for i, point in enumerate(zip(*hyper.values(), strict=True)):
        members.setdefault(tuple(map(float, point)), []).append(i)
    return [(dict(zip(hyper, point, strict=True)), own) for point, own in members.items()]


def points_of(hyper: Mapping[str, Any] | None) -> list[dict[str, float]]:
    """The different points of a sweep's members, in their order; none where nothing is swept.

    >>> points_of({"rate": np.array([0.1, 0.1, 0.2, 0.2])})
    [{'rate': 0.1}, {'rate': 0.2}]
    """
    return [point for point, _ in members_by_point(hyper or {})]


def points_to_check(hyper: Mapping[str, Any] | None) -> list[dict[str, float]]:
    """The points whose numbers a method may refuse, of those that differ in the learning rate alone the first.

    A learning rate is a number to the optimiser alone: where nothing else is swept there is no such point.

    >>> points_to_check({"learning_rate": np.array([0.1, 0.2])})
    []
    >>> points_to_check({"learning_rate": np.array([0.1, 0.2, 0.1]), "weight": np.array([1.0, 1.0, 2.0])})
    [{'learning_rate': 0.1, 'weight': 1.0}, {'learning_rate': 0.1, 'weight': 2.0}]
    """
    others = [name for name in hyper or {} if name != "learning_rate"]
    found: dict[tuple, dict[str, float]] = {}
    for point in points_of(hyper) if others else ():
        found.setdefault(tuple(point[name] for name in others), point)
    return list(found.values())


@contextmanager
def at_point(point: Mapping[str, float]) -> Iterator[None]:
    """Tells at which point of a sweep something was refused."""
    try:
        yield
    except InputError as error:
        if not point:
            raise
        where = ", ".join(f"{name}={value:g}" for name, value in point.items())
        raise InputError(f"the point {where} of a sweep is refused: {error}") from None


def choose(
    hyper: Mapping[str, np.ndarray], measure: str, scores: Sequence[float], *, sign: int = 1
) -> tuple[list[int], tuple[dict, ...]]:
    """The best point of a sweep by the mean score of its members.

    Args:
      hyper: one value a member by name, as `sweep` gives them.
      measure: the name of the score, for the table.
      scores: one a member.
      sign: 1 where higher is better, -1 where lower is.

    Returns:
      `(members, points)`: the members of the best point, and all points with their means, the best first; of equals the first.

    >>> choose({"rate": np.array([0.1, 0.1, 0.2, 0.2])}, "val_nll", [1.0, 2.0, 4.0, 3.0], sign=-1)
    ([0, 1], ({'rate': 0.1, 'val_nll': 1.5}, {'rate': 0.2, 'val_nll': 3.5}))
    """
    found = [(point, own, float(np.mean([scores[i] for i in own]))) for point, own in members_by_point(hyper)]
    ranked = sorted(found, key=lambda one: -np.nan_to_num(sign * one[2], nan=-np.inf))  # a point that diverged comes last
    return ranked[0][1], tuple({**point, measure: mean} for point, _, mean in ranked)
