"""What `configs/_methods.py` says of a method, and what its stages are made from."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from configs._published import as_benchmark
from kdjax import data
from kdjax.core import Frozen, Net
from kdjax.methods import recipes
from kdjax.train import Stage


class Setting(NamedTuple):
    """What a plan makes stages from.

    Attributes:
      name: of the student's stage.
      options: of the method, `config.method` without its name.
      student: specification of the student.
      teacher: the net behind `given["teacher"]`.
      teacher_net: its specification.
      given: `results of earlier stages -> {"teacher": Frozen}`.
      separate: shares of teachers that each have a loss of their own; () for one teacher, and for several that answer as one.
      source: the images students learn from, some maybe without a label.
      dataset: all of the data.
      per_epoch: steps an epoch.
      epochs: of the student.
      shape: of one image as networks see it.
      views: the augmentation that adds a weak and a strong view.
      build: `specification -> Net`.
      stage: `(make, nets, *, epochs=None, ...) -> Stage`, with `make(tx, micro=, axis_name=) -> Method`; without `epochs` the
        stage is the student's own, else one on the way to it.
    """

    name: str
    options: dict
    student: dict
    teacher: Net
    teacher_net: dict
    given: Callable[[dict], dict[str, Frozen]]
    separate: tuple[float, ...]
    source: data.Source
    dataset: data.Dataset
    per_epoch: int
    epochs: int
    shape: tuple[int, int, int]
    views: Callable
    build: Callable[[dict], Net]
    stage: Callable[..., Stage]

    def taps(self, net: Net) -> dict[str, jax.Array]:
        """The shapes of a net's outputs for one image."""
        image = jnp.zeros((1, *self.shape))
        return jax.eval_shape(lambda: net.apply(*net.init(jax.random.key(0), image), image, train=False)[0])


class Entry(NamedTuple):
    """One way to teach.

    Attributes:
      method: whose keyword options the config shows; the last stage, or the only one.
      objective: what it adds to a sum, as in `crd+kd`; None where it cannot be added.
      plan: `(Entry, Setting) -> stages by name`, the last one that of the student; None for one stage beside the teacher. Its
        keyword options are shown with the method's.
      knows: options that follow from the data or the net, as functions of a Setting; the config does not show them.
      student: `Setting -> ` the specification of what is trained, where that is more than the student's net. Its keyword options
        are shown too.
      first: the method of the stage before, whose options the config shows as `method.first`.
      pace: how that stage is trained, where it is not as `PACE`.
      published: how its authors train on CIFAR-100 where that is not as the benchmark does it: `(student, teacher) -> ` what
        differs, for nets by name.
      other_classes: whether the teacher may know other classes than the data has, or none.
    """

    method: Callable[..., Any]
    objective: Callable[..., recipes.Objective] | None = None
    plan: Callable[..., dict[str, Stage]] | None = None
    knows: Mapping[str, Callable[[Setting], Any]] = {}
    student: Callable[..., dict] = lambda setting: setting.student
    first: Callable[..., Any] | None = None
    pace: Mapping[str, Any] = {}
    published: Callable[[str, str], Mapping[str, Any]] = as_benchmark
    other_classes: bool = False

    def known(self, setting: Setting) -> dict:
        """The options that a config does not show."""
        return {name: find(setting) for name, find in self.knows.items()}


# Of a first stage; a learning rate of 0, no schedule and no drops are those of the student.
PACE = {"epochs": 30, "learning_rate": 0.0, "schedule": "", "drops": ()}
