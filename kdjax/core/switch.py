"""How a module of another library is told whether it trains."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kdjax.core.check import InputError, check_option

ON = ("train", "training", "is_training")
OFF = ("deterministic", "use_running_average")

Switch = Callable[[bool], Mapping[str, Any]]


def usual(names: Iterable[str]) -> list[str]:
    """Those of `names` that are the usual names of a train switch.

    >>> usual(["x", "deterministic", "mask"])
    ['deterministic']
    """
    return [name for name in names if name in ON + OFF]


def switched(names: Iterable[str], on: bool) -> dict[str, bool]:
    """What the switches of these usual names are set to, in training or in evaluation.

    >>> switched(["train", "deterministic"], True)
    {'train': True, 'deterministic': False}
    """
    return {name: on if name in ON else not on for name in names}


def check_switch(train: Switch | None) -> None:
    """Refuses what is not a function from `on` to the options of a call.

    >>> check_switch(lambda on: {"mode": "train" if on else "test"})
    """
    accepted = "a function such as lambda on: {'deterministic': not on}, or None"
    check_option("train", train, lambda t: t is None or all(isinstance(t(on), Mapping) for on in (True, False)), accepted)


def without_switch(module: Any, held: str) -> InputError:
    """The refusal of a module that acts otherwise in training, and does not say how it is told to train.

    >>> str(without_switch(object(), "a Dropout"))[:46]
    'object holds a Dropout and has no train switch'
    """
    return InputError(
        f"{type(module).__name__} holds {held} and has no train switch: expected an argument of __call__ or a field named "
        f"{', '.join(ON + OFF)}, or train=lambda on: {{...}}, the options of a call in training and in evaluation"
    )
