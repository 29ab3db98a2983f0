"""What a method is: a few pure functions."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jax.sharding import PartitionSpec as P

from kdjax.core.images import inputs_as_float
from kdjax.core.mesh import on_any_mesh, places_of, rows_of
from kdjax.core.net import Net

Batch = dict[str, Any]
Metrics = dict[str, Any]


IMAGES = ("image", "views")  # the columns of a batch that networks see


class _Functions(NamedTuple):
    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Metrics]]
    predict: Callable[..., dict[str, dict]]
    weights: Callable[[Any], dict[str, tuple[Any, Any]]]
    needs: tuple[str, ...] = ()


class Method(_Functions):
    """One published algorithm, built by a function with keyword-only hyperparameters.

    Images, in a batch's `"image"` and `"views"` and in the inputs of `predict`, are floats in [0, 1], or uint8, which every Method
    divides by 255 as the launcher does.

    On a mesh of Explicit axes, `jax.make_mesh`'s default, the functions are those of an Auto mesh: a State comes out of `init` on
    every device and of `step` where it lay, metrics on every device, the rows of `predict` where those of its inputs lie.

    Attributes:
      init: `(key, batch, given) -> State`; `given` is `{name: Frozen}`, the weights that come from outside. Only their shapes and
        sources count here: a run shows zeros in their place. What needs their values reads them in `step`, `predict`, `weights`.
      step: `(state, batch, key) -> (State, Metrics)`; pure, jittable, one optimisation step as the paper has it.
      predict: `(state, inputs) -> {name: taps}` in evaluation mode; the first name is the network one would ship.
      weights: `state -> {name: (params, stats)}` of every network, those of `predict` first and in their order, then what is
        trained or follows beside them (projectors, targets, generators, critics): what is saved, loaded, taught from, started from.
      needs: the names that `given` must hold, such as `("teacher",)`.
    """

    __slots__ = ()

    def __new__(
        cls,
        init: Callable[..., Any],
        step: Callable[..., tuple[Any, Metrics]],
        predict: Callable[..., dict[str, dict]],
        weights: Callable[[Any], dict[str, tuple[Any, Any]]],
        needs: tuple[str, ...] = (),
    ) -> "Method":
        """The functions as given, but that they see floats, on a mesh whose axes are not Explicit."""

        def init_on_floats(key, batch, given):
            return init(key, _of_floats(batch), given)

        def step_on_floats(state, batch, key):
            return step(state, _of_floats(batch), key)

        def predict_on_floats(state, inputs):
            return predict(state, inputs_as_float(inputs))

        init_on_mesh = on_any_mesh(init_on_floats, lambda key, batch, given: P())
        step_on_mesh = on_any_mesh(step_on_floats, lambda state, batch, key: (places_of(state), P()))
        predict_on_mesh = on_any_mesh(predict_on_floats, lambda state, inputs: rows_of(inputs))
        return super().__new__(cls, init_on_mesh, step_on_mesh, predict_on_mesh, weights, needs)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> "Method":  # what `_replace` calls
        return cls(*iterable)


def _of_floats(batch: Batch) -> Batch:
    """A batch with its images as floats; other columns of bytes keep their meaning."""
    return batch | {name: inputs_as_float(batch[name]) for name in IMAGES if name in batch}


def read_by_name(**networks: Net) -> tuple[Callable, Callable]:
    """`(predict, weights)` of a method whose State has a field for each network by its name, the one to ship first."""

    def predict(state, inputs):
        parts = {name: getattr(state, name) for name in networks}
        return {name: net.apply(parts[name].params, parts[name].stats, inputs, train=False)[0] for name, net in networks.items()}

    def weights(state):
        return {name: (getattr(state, name).params, getattr(state, name).stats) for name in networks}

    return predict, weights
