"""What a method is: a few pure functions."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec as P

from kdjax.core.check import InputError
from kdjax.core.images import INPUTS, check_channels_last, inputs_as_float
from kdjax.core.mesh import on_any_mesh, places_of, rows_of
from kdjax.core.net import Net
from kdjax.core.state import Frozen

Batch = dict[str, Any]
Metrics = dict[str, Any]


IMAGES = ("image", "views")  # the columns of a batch that hold images
COLUMNS = (*INPUTS, "views", "index", "label", "mask", "geometry")  # those that methods ask for


def _several(*args: Any) -> Any:
    """The `loss` and the `update` of a method of more than one loss.

    Raises:
      InputError: always.
    """
    raise InputError(
        "this method has no single loss: its step trains several networks, or one in several steps; give it your optimiser"
    )


class _Functions(NamedTuple):
    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Metrics]]
    predict: Callable[..., dict[str, dict]]
    weights: Callable[[Any], dict[str, tuple[Any, Any]]]
    needs: tuple[str, ...] = ()
    loss: Callable[..., tuple[Any, tuple[Any, Metrics]]] = _several
    update: Callable[[Any, Any, Any], Any] = _several


class Method(_Functions):
    """One published algorithm, built by a function with keyword-only hyperparameters.

    Images, in a batch's `"image"` and `"views"` and in the inputs of `predict`, are floats in [0, 1], or uint8, which every Method
    divides by 255 as the launcher does.

    On a mesh of Explicit axes, `jax.make_mesh`'s default, the functions are those of an Auto mesh: a State comes out of `init` on
    every device and of `step` where it lay, metrics on every device, the rows of `predict` where those of its inputs lie.

    Attributes:
      init: `(key, batch, given) -> State`; `given` is `{name: Frozen}`, the weights that come from outside. Only their shapes and
        sources count here: a run shows zeros in their place. What needs their values reads them in `step`, `predict`, `weights`.
        Networks may start from weights by their names, `init(key, batch, given, student=(params, stats))`; a follower that begins
        as a copy then is one of these.
      step: `(state, batch, key) -> (State, Metrics)`; pure, jittable, one optimisation step as the paper has it.
      predict: `(state, inputs) -> {name: taps}` in evaluation mode; the first name is the network one would ship.
      weights: `state -> {name: (params, stats)}` of every network, those of `predict` first and in their order, then what is
        trained or follows beside them (projectors, targets, generators, critics): what is saved, loaded, taught from, started from.
      needs: the names that `given` must hold, such as `("teacher",)`.
      loss: `(params, state, batch, key) -> (scalar, (kept, metrics))`, what `step` goes down, for a trainer that owns the
        optimiser, the loss scale and the schedule: `jax.value_and_grad(method.loss, has_aux=True)`. `params` are at first those of
        `core.learner_of(state)`; `kept` is what the pass leaves, statistics of the nets above all. Under a mapped axis the loss is
        the global mean, and the gradient has to be averaged too: `core.pmean(gradient, axis_name)`.
      update: `(state, params, kept) -> State`, what `step` does behind its optimiser: new parameters and statistics find their
        place, followers move, `step` counts up. A method that trains several networks, or one in several steps, has neither.
    """

    __slots__ = ()

    def __new__(
        cls,
        init: Callable[..., Any],
        step: Callable[..., tuple[Any, Metrics]],
        predict: Callable[..., dict[str, dict]],
        weights: Callable[[Any], dict[str, tuple[Any, Any]]],
        needs: tuple[str, ...] = (),
        loss: Callable[..., tuple[Any, tuple[Any, Metrics]]] = _several,
        update: Callable[[Any, Any, Any], Any] = _several,
    ) -> "Method":
        """The functions as given, but that they see floats, on a mesh whose axes are not Explicit."""

        def init_on_floats(key, batch, given, **start):
            _check_given(given, needs)
            if start and not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(init).parameters.values()):
                raise InputError(f"{', '.join(start)}=... is not accepted: this method starts no network from given weights")
            with _refused_without_its_columns(batch):
                return init(key, _of_floats(batch), given, **start)

        def step_on_floats(state, batch, key):
            with _refused_without_its_columns(batch):
                return step(state, _of_floats(batch), key)

        def predict_on_floats(state, inputs):
            return predict(state, inputs_as_float(inputs))

        def loss_on_floats(params, state, batch, key):
            with _refused_without_its_columns(batch):
                return loss(params, state, _of_floats(batch), key)

        init_on_mesh = on_any_mesh(init_on_floats, lambda key, batch, given, **start: P())
        step_on_mesh = on_any_mesh(step_on_floats, lambda state, batch, key: (places_of(state), P()))
        predict_on_mesh = on_any_mesh(predict_on_floats, lambda state, inputs: rows_of(inputs))
        loss_on_mesh = on_any_mesh(loss_on_floats, lambda params, state, batch, key: P())
        return super().__new__(cls, init_on_mesh, step_on_mesh, predict_on_mesh, weights, needs, loss_on_mesh, update)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> "Method":  # what `_replace` calls
        return cls(*iterable)


def _check_given(given: Any, needs: tuple[str, ...]) -> None:
    for name in needs:
        expected = f"expected {{{name!r}: core.Frozen(params, stats)}}"
        if not isinstance(given, Mapping) or name not in given:
            shown = ", ".join(given) or "nothing" if isinstance(given, Mapping) else type(given).__name__
            raise InputError(f"given[{name!r}] is not there: given holds {shown}; {expected}")
        if not isinstance(given[name], Frozen):
            raise InputError(f"given[{name!r}] is of type {type(given[name]).__name__}, which is not accepted: {expected}")


@contextmanager
def _refused_without_its_columns(batch: Any) -> Iterator[None]:
    if not isinstance(batch, Mapping):
        raise InputError(f"a batch of type {type(batch).__name__} is not accepted: expected a dict of arrays, as {{'image': ...}}")
    try:
        yield
    except KeyError as error:
        name = error.args[0] if error.args else None
        if name not in COLUMNS or name in batch:
            raise
        raise InputError(
            f"the batch has no {name!r}, which this method asks for: it has {', '.join(batch) or 'nothing'}"
        ) from error


def _of_floats(batch: Batch) -> Batch:
    """A batch with its images as floats; other columns of bytes keep their meaning."""
    found = {name: inputs_as_float(batch[name]) for name in IMAGES if name in batch}
    for image in jax.tree.leaves(found):
        check_channels_last(image)
    return batch | found


def read_by_name(**networks: Net) -> tuple[Callable, Callable]:
    """`(predict, weights)` of a method whose State has a field for each network by its name, the one to ship first."""

    def predict(state, inputs):
        parts = {name: getattr(state, name) for name in networks}
        return {name: net.apply(parts[name].params, parts[name].stats, inputs, train=False)[0] for name, net in networks.items()}

    def weights(state):
        return {name: (getattr(state, name).params, getattr(state, name).stats) for name in networks}

    return predict, weights
