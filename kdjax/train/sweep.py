"""Many hyperparameters in one program: the swept numbers are part of the State."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Method


class Swept(NamedTuple):
    """A State together with the numbers its method was built with."""

    hyper: dict[str, jax.Array]
    inner: Any


def sweep(make: Callable[..., Method], grid: Mapping[str, Sequence[float]], seeds: int = 1) -> tuple[Method, dict]:
    """One method for every point of a grid: run it with as many members as there are points.

    Args:
      make: `(**numbers) -> Method`, built anew from traced numbers inside each step: a learning rate, a temperature, a weight.
      grid: values by name; every combination is a point.
      seeds: members for each point, next to each other.

    Returns:
      `(method, hyper)`: `hyper` holds one value a member by name, for `Stage.hyper`.

    >>> import optax
    >>> from kdjax import methods, models
    >>> net = models.conv_net((4,))
    >>> _, hyper = sweep(lambda rate: methods.supervised(net, optax.sgd(rate)), {"rate": [0.1, 0.2]}, seeds=2)
    >>> hyper["rate"].tolist()
    [0.1, 0.1, 0.2, 0.2]
    """
    points = [point for point in product(*grid.values()) for _ in range(seeds)]
    hyper = {name: np.array([p[i] for p in points]) for i, name in enumerate(grid)}
    first = {name: values[0] for name, values in grid.items()}
    plain = make(**first)

    def init(key, batch, given):
        return Swept({name: jnp.float32(v) for name, v in first.items()}, plain.init(key, batch, given))

    def step(state, batch, key):
        inner, metrics = make(**state.hyper).step(state.inner, batch, key)
        return Swept(state.hyper, inner), metrics

    def predict(state, inputs):
        return plain.predict(state.inner, inputs)

    def weights(state):
        return plain.weights(state.inner)

    return Method(init, step, predict, weights, plain.needs), hyper
