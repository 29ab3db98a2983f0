"""What a method is: a few pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kdjax.core.net import Net

Batch = dict[str, Any]
Metrics = dict[str, Any]


class Method(NamedTuple):
    """One published algorithm, built by a function with keyword-only hyperparameters.

    Attributes:
      init: `(key, batch, given) -> State`; `given` is `{name: Frozen}`, the weights that come from outside. Only their shapes and
        sources count here: a run shows zeros in their place. What needs their values reads them in `step`, `predict`, `weights`.
      step: `(state, batch, key) -> (State, Metrics)`; pure, jittable, one optimisation step as the paper has it.
      predict: `(state, inputs) -> {name: taps}` in evaluation mode; the first name is the network one would ship.
      weights: `state -> {name: (params, stats)}` for the networks of `predict`: what is saved to be used elsewhere.
      needs: the names that `given` must hold, such as `("teacher",)`.
    """

    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Metrics]]
    predict: Callable[..., dict[str, dict]]
    weights: Callable[[Any], dict[str, tuple[Any, Any]]]
    needs: tuple[str, ...] = ()


def read_by_name(**networks: Net) -> tuple[Callable, Callable]:
    """`(predict, weights)` of a method whose State has a field for each network by its name, the one to ship first."""

    def predict(state, inputs):
        parts = {name: getattr(state, name) for name in networks}
        return {name: net.apply(parts[name].params, parts[name].stats, inputs, train=False)[0] for name, net in networks.items()}

    def weights(state):
        return {name: (getattr(state, name).params, getattr(state, name).stats) for name in networks}

    return predict, weights
