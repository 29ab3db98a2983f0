"""The experiment of networks that teach themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdjax import data, models
from kdjax.core import InputError, Method, Net, check_option, pick
from kdjax.evaluate.exits import classification_of_exits
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, by_accuracy, context_fields, stages_of
from kdjax.experiment.data import load_data, own_views, seen_shape
from kdjax.experiment.distillation import student_sources, students_alone
from kdjax.experiment.entry import Entry, Table, objectives_of, options_taken
from kdjax.experiment.mixing import with_words
from kdjax.experiment.sections import swept
from kdjax.methods import recipes
from kdjax.methods.self_distil.cosub import check_submodels
from kdjax.methods.self_distil.rows import anchors_of_pairs, anchors_with_companions, both_views, each_twice
from kdjax.train import Stage


def build(config: Config, table: Table, *, taught: Callable[..., dict[str, Stage]] | None = None) -> Experiment:
    """Without a teacher: a student alone, the same with label smoothing (where `config.smoothing` is above 0), one by each method.

    `config.method` makes one, `student`; `config.methods` one by each, under its name, without those that diverge. All have the
    same images, labels and steps. Students alone have their learning rate chosen among `config.baseline_rates` on validation
    images, the others options of theirs with `config.sweep`.

    Args:
      config: filled.
      table: of the methods by name.
      taught: `(name, section of a method, table, fields of a context) -> stages`; None: `own_stages`.
    """
    dataset, taught = load_data(config), taught or own_stages
    shared = shared_fields(config, dataset)
    stages = students_alone(config, shared)
    alone, many = list(stages), "methods" in config
    _check_exits(config, table)
    for name, section in config.methods.items() if many else [("student", config.method)]:
        own = taught(name, section, table, shared)
        stages |= {stage: one._replace(optional=many) for stage, one in own.items()}
    others = [name for name in stages if name not in alone]
    compare = [(name, alone[0]) for name in alone[1:]] + [(name, other) for name in others for other in alone]
    return Experiment(stages, dataset, by_accuracy(compare))


def _check_exits(config: Config, table: Table) -> None:
    """Refuses a section of exits for methods that have none."""
    asked = plain(config.get("exits", {}))
    names = [section.name for section in (config.methods.values() if "methods" in config else [config.method])]
    parts = {part for name in names for part in name.split("+") if part in table}
    if any("exits" in options_taken(table[part]) for part in parts):
        return
    for field, default in (("stages", ""), ("blocks", []), ("heads", "copies")):
        value, wanted = asked.get(field, default), f"{default!r}, as no method that is asked for has exits"
        check_option(f"--config.exits.{field}", value, lambda v, default=default: list(v) == list(default), wanted)


def shared_fields(config: Config, dataset: data.Dataset) -> dict[str, Any]:
    """The fields of a context that are those of all networks of an experiment, which learn from the labelled images."""
    labelled, _ = student_sources(config, dataset)
    return context_fields(config, dataset, config.student_training, source=labelled)


@dataclass(frozen=True, kw_only=True)
class OwnContext(ClassifierContext):
    """What a network that teaches itself is made from.

    Attributes:
      table: of the methods by name.
    """

    table: Table

    @property
    def objective(self) -> recipes.Objective:
        """Of the method, or of all in a sum, beside the labels."""
        options = dict(self.settings)
        labels = [recipes.labels_objective(options.pop("label_weight"))] if "label_weight" in options else []
        return recipes.combine(*labels, *objectives_of(self.method, options, self.table, self.known))

    @property
    def exits(self) -> Net:
        """Classifiers behind the stages of the net but the last."""
        options = plain(self.config.get("exits", {"stages": ""}))
        stages = tuple(filter(None, options.pop("stages").split(",")))
        return models.exits(self.specification, stages=stages, **options, axis_name=self.axis_name)

    @property
    def pyramid(self) -> Net:
        """A head over all stages of the net."""
        dtype = models.DTYPES[self.specification["dtype"]]
        return models.bifpn(self.specification["classes"], dtype=dtype, axis_name=self.axis_name)

    def stage(self, make: Callable[..., Any] | None = None, **fields: Any) -> dict[str, Stage]:
        """One stage by its name, whose batches hold what the objective sees.

        Args:
          make: `c -> Method`; None: that of the entry.
          **fields: others of `Stage` than those of all classifiers.
        """
        sees = self.objective.sees if self.entry.make is taught_by_itself else None
        if sees and "manifold_mixup" in self.words:
            rows = sees.__name__.replace("_", " ")
            why = f"it mixes the rows of a batch inside a network, and this one sees others, {rows}"
            raise InputError(f"method='{self.method}+manifold_mixup' is not accepted: {why}")
        rows = ROWS[sees](self) if sees and "sampler" not in fields else {}
        return super().stage(
            make,
            **{"evaluate": classification_of_exits, "grid": swept(self.config.get("sweep", ""), self.settings), **rows, **fields},
        )

    def with_companions(self, others: int) -> dict[str, Any]:
        """The fields of a stage whose batches hold each image together with others of its class."""
        batch = min(self.config.data.batch, self.source.size)
        return {"sampler": _of_classes(data.companions, self.labels, batch=batch, others=others)}


def _pairs(c: OwnContext) -> dict[str, Any]:
    """As many anchors as others have images in a batch, each with one of its class."""
    anchors = min(c.config.data.batch, c.source.size)
    return {"batch": 2 * anchors, "sampler": _of_classes(data.pairs, c.labels, pairs=anchors)}


def _views(c: OwnContext) -> dict[str, Any]:
    return {"augment": own_views(c.config.data, c.dataset, 2, *c.erased)}


def _submodels(c: OwnContext) -> dict[str, Any]:
    """The batch as it is, for a net that has submodels."""
    check_submodels(replace(c, axis_name=None).network, jnp.zeros((2, *seen_shape(c.config.data, c.dataset))))
    return {}


OTHERS = 3  # of its class that each image is together with, where a method of a sum asks for some

# What fills a batch for the objectives that see other rows than its own.
ROWS: dict[Callable, Callable[[OwnContext], dict[str, Any]]] = {
    anchors_of_pairs: _pairs,
    anchors_with_companions: lambda c: c.with_companions(OTHERS),
    both_views: _views,
    each_twice: _submodels,
}


def own_stages(name: str, section: Config, table: Table, shared: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of a network that teaches itself by one method, or a sum.

    Args:
      name: of the last one.
      section: the method's name and options.
      table: of the methods by name.
      shared: the other fields of an `OwnContext`.
    """
    method, settings, words = with_words(plain(section), table)
    entry = Entry(recipes.student) if "+" in method else pick("method", method, table)
    entry = entry._replace(make=entry.make or taught_by_itself)
    return stages_of(OwnContext(name=name, method=method, entry=entry, settings=settings, table=table, words=words, **shared))


def taught_by_itself(c: OwnContext) -> Method:
    """The usual method: one network and its objective."""
    return recipes.student(c.network, c.tx, c.objective, name="network", axis_name=c.axis_name, micro=c.micro)


def _of_classes(sampler: Callable[..., data.Sampler], labels: Any, **options: Any) -> data.Sampler:
    """A sampler of classes, all of which must have two images."""
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        least = f"class {names[counts.argmin()]} has 1, and each needs another one of its class"
        raise InputError(f"--config.method is not accepted with these images: {least}")
    return sampler(labels, **options)
