"""What a method is: a few pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

Batch = dict[str, Any]
Metrics = dict[str, Any]


class Method(NamedTuple):
    """One published algorithm, built by a function with keyword-only hyperparameters.

    Attributes:
      init: `(key, batch, given) -> State`; `given` is `{name: Frozen}`, the weights that come from outside.
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
