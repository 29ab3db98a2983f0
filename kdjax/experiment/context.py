"""What an entry of a table of methods makes its stages from."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import data, models
from kdjax.core import InputError, Method, Net, averaged, check_option
from kdjax.core.arrays import AxisName
from kdjax.core.averages import with_averages
from kdjax.experiment.config import Config, plain
from kdjax.experiment.data import seen_shape, steps_per_epoch
from kdjax.experiment.entry import KNOWN, PACE, Entry, keyword_defaults
from kdjax.experiment.nets import net_specification
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.report_table import Tables
from kdjax.train import Pace, Stage, sweep
from kdjax.train.devices import AXIS
from kdjax.train.sweep import first_point
from kdjax.train.teacher import Teacher


class Experiment(NamedTuple):
    """What `build(config)` returns.

    Attributes:
      stages: in the order they run.
      dataset: for evaluation and for the records.
      compare: pairs of results `stage/measure`, the second the baseline, whose paired difference over seeds is reported.
      outside: a teacher that no stage trains: it is measured before it is used.
      splits: further rows that measures ask for, by a name of their own; in memory where the data set is.
      tables: `({stage: {measure: values}}, lines)` of what was trained -> further tables of the report; `lines` are those of
        metrics.jsonl. None: there are none.
      evaluate_teacher: the `evaluate` of a teacher from outside, where that of the stage that learns from it asks for more than a
        network; None: it does not.
    """

    stages: dict[str, Stage]
    dataset: data.Dataset
    compare: tuple[tuple[str, str], ...] = ()
    outside: Teacher | None = None
    splits: Mapping[str, data.Source] = {}
    tables: Tables | None = None
    evaluate_teacher: Callable | None = None

    @property
    def learning(self) -> list[str]:
        """The stages that learn from rows of the data, by name: no other is given one."""
        return [name for name, stage in self.stages.items() if stage.source is not None]

    def judge(self) -> Stage | None:
        """The stage by whose measures a teacher from outside is judged: the first with results that learns from it.

        None where there is no such stage, or no test image to judge it on.
        """
        learning = (stage for stage in self.stages.values() if "teacher" in stage.method.needs and not stage.intermediate)
        found = next(learning, None) if self.dataset.test.size else None
        return found._replace(evaluate=self.evaluate_teacher) if found and self.evaluate_teacher else found


def by_accuracy(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Pairs of stages, the second the baseline, held against each other by their test accuracy, as `Experiment.compare` has them.

    >>> by_accuracy([("kd", "student_alone")])
    (('kd/test_accuracy', 'student_alone/test_accuracy'),)
    """
    return tuple((f"{one}/test_accuracy", f"{baseline}/test_accuracy") for one, baseline in pairs)


def axis_name(config: Config) -> str | None:
    """What methods and nets are built with: the mapped axis of `shard_map` and `pmap`."""
    return None if config.parallel == "jit" else AXIS


def context_fields(
    config: Config,
    dataset: data.Dataset,
    section: Config,
    *,
    specification: dict | None = None,
    epoch_steps: int | None = None,
    **changed: Any,
) -> dict[str, Any]:
    """The fields of a `Context` that no method decides: the net of a section, trained on all images, one for each seed.

    Args:
      config: whole.
      dataset: its data.
      section: of the config, with the net and how it is trained.
      specification: of the net; None: that of the section.
      epoch_steps: steps an epoch; None: those that pass all training images.
      **changed: other fields.
    """
    return {
        "config": config, "dataset": dataset, "training": plain(section), "source": dataset.train, "members": config.seeds,
        "specification": specification or net_specification(section.net, dataset, config),
        "steps_per_epoch": steps_per_epoch(config, dataset) if epoch_steps is None else epoch_steps,
        "axis_name": axis_name(config), "nets": {}, **changed,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method may need, each when it is asked for; a family adds its networks and views.

    Attributes:
      config: the whole config.
      dataset: its data.
      name: of the stage.
      entry: of the method, with a `make`.
      settings: the method's options as the config has them; in a sweep, those of one point.
      training: how the stage is trained, as plain values: `epochs`, `micro`, `optimiser`.
      specification: of the net that is trained.
      steps_per_epoch: of the stage.
      source: the images that it learns from.
      members: how many networks are trained side by side.
      axis_name: mapped axis of the batch, for nets and methods, or None.
      nets: those that were built, by specification and axis.
    """

    config: Config
    dataset: data.Dataset
    name: str
    entry: Entry
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    specification: dict
    steps_per_epoch: int
    source: data.Source
    members: int
    axis_name: AxisName
    nets: dict[tuple[str, AxisName], Net] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Of the stage."""
        return self.training["epochs"]

    @property
    def steps(self) -> int:
        """Of the stage."""
        return self.training["epochs"] * self.steps_per_epoch

    @property
    def micro(self) -> int:
        """Slices of a batch to accumulate gradients over."""
        return self.training["micro"]

    @property
    def tx(self) -> optax.GradientTransformation:
        """The optimiser."""
        return make_optimiser(self.training["optimiser"], self.steps, self.steps_per_epoch)

    @property
    def constant_tx(self) -> optax.GradientTransformation:
        """The optimiser at its full rate throughout."""
        still = {**self.training["optimiser"], "schedule": "constant", "warmup_epochs": 0.0, "drops": ()}
        return make_optimiser(still, self.steps, self.steps_per_epoch)

    @property
    def labels(self) -> np.ndarray:
        """The class numbers `[N]` of the images, below 0 where there is none."""
        return self.source.labels()

    @property
    def numbers(self) -> np.ndarray:
        """The `"index"` `[N]` of the images in batches."""
        return data.numbers_of(self.source)

    @property
    def mean(self) -> Sequence[float]:
        """What images are normalised with."""
        return self.specification["mean"]

    @property
    def std(self) -> Sequence[float]:
        """What images are normalised with."""
        return self.specification["std"]

    @property
    def options(self) -> dict[str, Any]:
        """The options of `entry.method`: those of the config, and those that the experiment knows by itself."""
        return {**self.settings, **self.known(self.entry.method)}

    def known(self, builder: Callable) -> dict[str, Any]:
        """The options of a builder that no config shows."""
        takes = inspect.signature(builder).parameters
        return {name: getattr(self, name) for name in KNOWN if name in takes}

    def first(self, builder: Callable[..., Method], options: Mapping[str, Any], make: Callable) -> Self:
        """What a stage before this one is made from, whose name ends in `_first`.

        Args:
          builder: of its method.
          options: of the builder, and how the stage is trained, as `entry.first_stage` shows them.
          make: of its `Entry`.
        """
        settings = dict(options)
        epochs, *pace = [settings.pop(name) for name in PACE]
        changed = {name: value for name, value in zip(list(PACE)[1:], pace, strict=True) if value}
        training = {**self.training, "epochs": epochs, "optimiser": {**self.training["optimiser"], **changed}}
        return replace(self, name=f"{self.name}_first", entry=Entry(builder, make), settings=settings, training=training)

    def build(self, specification: dict) -> Net:
        """The net of a specification, built once."""
        key = repr(specification), self.axis_name
        if key not in self.nets:
            self.nets[key] = models.build(specification, axis_name=self.axis_name)
        return self.nets[key]

    def taps(self, net: Net) -> dict[str, jax.Array]:
        """The shapes of a net's outputs for one image."""
        image = jnp.zeros((1, *seen_shape(self.config.data, self.dataset)))
        return jax.eval_shape(lambda: net.apply(*net.init(jax.random.key(0), image), image, train=False)[0])


def stages_of(c: Any) -> dict[str, Stage]:
    """The stages of an entry by name: its `stages` with their own options, or the one of its `make`."""
    if c.entry.stages is None:
        return c.stage()
    settings = dict(c.settings)
    own = {name: settings.pop(name) for name in keyword_defaults(c.entry.stages)}
    return c.entry.stages(replace(c, settings=settings), **own)


def _of_averages(c: Context, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a stage whose method is `averaged`."""
    if looks := [name for name in ("refresh", "samples", "frames") if fields.get(name)]:
        reads = f"stage {c.name!r} reads the State of its method on the way ({', '.join(looks)})"
        raise InputError(f"average={c.training['average']} is not accepted: {reads}; expected 0.0")
    if (begin := fields.get("warm_start")) is None:
        return fields
    return fields | {"warm_start": lambda state, result, member: with_averages(begin(state.inner, result, member))}


def make_stage(
    c: Context, make: Callable[..., Any] | None, *, grid: Mapping[str, Sequence[float]] | None = None, **fields: Any
) -> Stage:
    """One stage.

    Args:
      c: what it is made from.
      make: `c -> Method`, or `c -> (Method, augmentation)`, asked at every point of a sweep; None: that of the entry.
      grid: values to try by name, the learning rate or options of the method; every seed with each point in one program, and
        validation images choose.
      **fields: of `Stage`.
    """
    asked, average = make or c.entry.make, c.training.get("average", 0.0)
    assert asked is not None
    if average:
        fields = _of_averages(c, fields)

    def made(c: Context, **swept: Any) -> tuple[Method, Callable | None]:
        rate = swept.pop("learning_rate", c.training["optimiser"]["learning_rate"])
        training = {**c.training, "optimiser": {**c.training["optimiser"], "learning_rate": rate}}
        found = asked(replace(c, settings={**c.settings, **swept}, training=training))
        method, augmentation = (found, None) if isinstance(found, Method) else found
        return averaged(method, average) if average else method, augmentation

    def built(c: Context) -> tuple[Method, Callable | None, Mapping[str, Any]]:
        """With its augmentation, and the numbers of its members."""
        if not grid:
            return *made(c), {}
        check_option("learning_rate", grid.get("learning_rate", (1,)), lambda rates: min(rates) > 0, "numbers above 0")
        method, augmentation = made(c, **first_point(grid))
        method, hyper = sweep(lambda **swept: made(c, **swept)[0], grid, members, first=method)
        return method, augmentation, {"seeds": members, "hyper": hyper, "choose": True, "members": len(next(iter(hyper.values())))}

    members = fields.get("members", c.members)
    method, augmentation, swept = built(c)
    unmapped = built(replace(c, axis_name=None))[0] if c.axis_name else None
    if augmentation:
        fields["augment"] = augmentation
    each = c.steps_per_epoch
    pace = Pace(each, each * c.config.evaluate_epochs, each * c.config.save_epochs)
    usual = {"steps": c.steps, "pace": pace, "members": members}
    return Stage(method=method, unmapped=unmapped, **{**usual, **fields, **swept})
