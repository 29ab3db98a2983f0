"""The experiment of a teacher without its data: students see images that are made for them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import optax

from kdjax.core import InputError, Net, check_count, check_option, pick
from kdjax.evaluate.classifier import classification
from kdjax.evaluate.without_data import without_data
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Context, Experiment, by_accuracy, context_fields, make_stage, stages_of
from kdjax.experiment.data import load_data
from kdjax.experiment.data_free_alarms import data_free_alarms
from kdjax.experiment.data_free_references import WITH_DATA, references
from kdjax.experiment.data_free_tables import tables
from kdjax.experiment.entry import Table, check_accumulation, objectives_of
from kdjax.experiment.inception import Judge, read_inception
from kdjax.experiment.nets import net_specification
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.synthetic_images import by_class, class_rows, drawn, judged, newest, remembered
from kdjax.experiment.teaching import Teaching, teacher_of
from kdjax.methods.recipes import Objective, combine, labels_objective
from kdjax.models import pooled_together
from kdjax.train import Stage

SAMPLES = 64  # images to look at, in the order of classes
ROWS, COLUMNS = 20, 8  # of images to look at, a row a class, where a generator is asked for up to so many
JUDGED = 512  # images that measures are of


@dataclass(frozen=True, kw_only=True)
class DataFreeContext(Context):
    """What a student is taught from without data; an epoch has `config.student_steps_per_epoch` steps of the student.

    Attributes:
      method: the name of the method, for the records.
      teaching: its teacher.
      objectives: the table of offline methods, for a student that is asked for another objective than its method's.
      student_steps: of the student, in each step.
      inception: in whose features images are judged too, or None.
    """

    method: str
    teaching: Teaching
    objectives: Table
    inception: Judge | None = None
    student_steps: float = 1

    @property
    def student(self) -> Net:
        """The net."""
        return self.build(self.specification)

    @property
    def teacher(self) -> Net:
        """The teacher, which tells the classes of the data apart."""
        self.teaching.check_classes(self.dataset.classes)
        return pooled_together(self.teaching.net)

    @property
    def tx(self) -> optax.GradientTransformation:
        """The student's optimiser, for its steps alone."""
        often = self.student_steps
        return make_optimiser(self.training["optimiser"], round(self.steps * often), round(self.steps_per_epoch * often))

    @property
    def objective(self) -> Objective | None:
        """What the student is asked for in place of what its method asks for, beside the classes its images are made for."""
        options = plain(self.config.objective)
        names, weight = options.pop("name"), options.pop("label_weight", 0.0)
        if not names:
            return None
        terms = objectives_of(names, options, self.objectives, self.known_without_data)
        return combine(*[labels_objective(weight)] * bool(weight), *terms)

    def known_without_data(self, objective: Callable) -> dict[str, Any]:
        """The options of an objective that no config shows.

        Raises:
          InputError: for one that asks for the labels of training images.
        """
        if {"labels", "numbers"} & set(inspect.signature(objective).parameters):
            name = objective.__name__.removesuffix("_objective")
            raise InputError(f"objective {name!r} is not accepted: it needs the labels of training images, and there are none")
        return self.known(objective)

    @property
    def classes(self) -> int:
        """Of the teacher."""
        return self.dataset.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image, (height, width, channels)."""
        return tuple(self.dataset.shape)

    def generator_specification(self, **changed: Any) -> dict:
        """Of a net from latents to images of the data's shape.

        Args:
          **changed: other options of `models.generator`.
        """
        (*size, channels), section = self.dataset.shape, plain(self.config.generator)
        own = {"name": "generator", "size": size, "channels": channels, "latent": self.settings["latent"]}
        own |= {"dtype": self.config.precision, **{name: section[name] for name in ("features", "last", "init")}}
        own |= {"widths": list(section["widths"])} if section["widths"] else {}
        # Where batch norm is last, images have the mean and deviation of the data.
        units = {} if section["last"] == "sigmoid" else {"mean": list(self.mean), "std": list(self.std)}
        return own | units | changed

    def generator(self, **changed: Any) -> Net:
        """From latents to images; with `classes` and `label`, from latents and classes."""
        return self.build(self.generator_specification(**changed))

    @property
    def image_tx(self) -> optax.GradientTransformation:
        """The optimiser of what makes images."""
        return self.image_tx_at()

    def image_tx_at(self, **changed: Any) -> optax.GradientTransformation:
        """The same with other options."""
        return make_optimiser({**plain(self.config.generator.optimiser), **changed}, self.steps, self.steps_per_epoch)

    def beside_generator(
        self, make: Callable[["DataFreeContext", Net], Any], *, average: bool = False, warm_up: int = 0, **changed: Any
    ) -> dict[str, Stage]:
        """One stage of a generator beside a student.

        Args:
          make: `(c, generator) -> Method`.
          average: whether the method keeps the moving average of the generator.
          warm_up: first steps in which the student does not learn.
          **changed: other options of `models.generator`.
        """
        wanted = f"0 or more, fewer than the {self.steps} steps of the generator"
        check_option("--config.method.warm_up", warm_up, lambda n: 0 <= n < self.steps, wanted)
        # The student's schedule is that of the steps in which it learns.
        c = replace(self, student_steps=self.settings["student_steps"] * (1 - warm_up / self.steps))
        specification = c.generator_specification(**changed)
        maker = replace(c, axis_name=None).build(specification)
        nets = {"generator": specification} | ({"average_generator": specification} if average else {})
        asked = self.classes if "classes" in changed else None
        images = drawn(maker, self.settings["latent"], asked)
        shown: dict[str, Any] = {}
        if asked and asked <= ROWS:
            shown = {"samples": class_rows(images, asked, COLUMNS), "frames": lambda state, key: images(state, key, asked)}
        return c.stage(lambda c: make(c, c.build(specification)), nets, images, begin=warm_up, **shown)

    def in_rounds(
        self, make: Callable[["DataFreeContext"], Any], *, warm_up: int = 0, generator: bool = False, **changed: Any
    ) -> dict[str, Stage]:
        """One stage of rounds, each of them an epoch, that fill a pool of images.

        Args:
          make: `c -> Method`.
          warm_up: first epochs in which the student does not learn.
          generator: whether one makes the images.
          **changed: other options of `models.generator`.
        """
        often, makes = self.settings["student_steps"], self.settings["synthesis_steps"]
        check_option(
            "--config.method.warm_up", warm_up, lambda n: 0 <= n < self.epochs, f"0 or more, fewer than the {self.epochs} epochs"
        )
        learning, each = self.epochs - warm_up, makes + often
        # The student's schedule is that of the epochs in which it learns.
        c = replace(self, steps_per_epoch=each, student_steps=often * learning / self.epochs / each)
        nets = {"generator": self.generator_specification(**changed)} if generator else {}
        steps, newly = warm_up * makes + learning * each, lambda state, key: newest(state, key, COLUMNS)
        return c.stage(make, nets, remembered, begin=warm_up * makes, steps=steps, frames=newly)

    def stage(
        self,
        make: Callable[..., Any] | None,
        nets: Mapping[str, dict],
        images: Callable[..., jax.Array],
        *,
        begin: int = 0,
        **fields: Any,
    ) -> dict[str, Stage]:
        """One stage by its name.

        Args:
          make: `c -> Method`; None: that of the entry.
          nets: specifications of what makes images, by name.
          images: `(state, key, count) -> images` that a State makes.
          begin: the step from which on the student learns.
          **fields: others of `Stage` than those of all students without data.
        """
        alone = replace(self, axis_name=None)
        teacher = pooled_together(alone.build(self.teaching.specification))
        look, shown = judged(images, alone.build(self.specification), teacher, JUDGED), by_class(images, teacher)
        inception, real = self.inception, self.dataset.test.size > 0
        usual = {
            "batch": self.config.data.batch,
            "about": {"method": self.method, **self.settings, "objective": self.config.objective.name}
            | ({"inception": inception.sha256} if inception else {}),
            "nets": {"student": self.specification, **nets},
            "source": None,
            "evaluate": without_data(look, inception and inception.features, rows=real),
            "score": "accuracy" if real else "synthetic_agreement",
            "alarms": data_free_alarms(self.config.stop, self.dataset, begin=begin, steps=fields.get("steps", self.steps)),
            "given": self.teaching.given,
            "samples": lambda state, key: shown(state, key, SAMPLES),
            "frames": lambda state, key: images(state, key, COLUMNS),
        }
        return {self.name: make_stage(self, make, **(usual | fields))}


def build(config: Config, table: Table, objectives: Table) -> Experiment:
    """A teacher, and students that never see its data.

    `config.method` makes one, `student`. `config.methods` makes one by each method, under its name, beside `references`; the run
    goes on without those that diverge.

    Args:
      config: filled.
      table: of the methods by name.
      objectives: of the offline methods by name, whose objectives a student may be asked for.
    """
    dataset = load_data(config, learned=not config.teacher or bool(config.get("references")))
    teaching, inception = teacher_of(config, dataset, sees_images=False), read_inception(config.inception)
    teaching.check_float32("made-up images, which the same net in float32 is asked about too")
    together = "'ensemble': images are made for all teachers together"
    check_option("--config.teachers_combine", config.teachers_combine, lambda way: way == "ensemble", together)
    if inception and dataset.shape[-1] not in (1, 3):
        raise InputError(f"--config.inception={config.inception} is not accepted with images of {dataset.shape[-1]} channels")
    judged = {"outside": teaching.outside, "evaluate_teacher": classification}
    if "methods" not in config:
        stages = student_stages("student", config.method, config, table, objectives, dataset, teaching, inception)
        return Experiment(
            teaching.stages | stages, dataset, tables=lambda measured, lines: tables(measured, lines, ("student",)), **judged
        )
    steps = config.student_training.epochs * config.student_steps_per_epoch
    others = references(config, dataset, teaching, steps)
    stages = dict(others)
    for name, section in config.methods.items():
        own = student_stages(name, section, config, table, objectives, dataset, teaching, inception)
        stages |= {stage: one._replace(optional=True) for stage, one in own.items()}
    compare = by_accuracy((name, "noise") for name in stages if name not in others and "noise" in others)
    taught = [name for name in others if name in WITH_DATA]
    shown = lambda measured, lines: tables(measured, lines, tuple(stages), taught)  # noqa: E731
    return Experiment(teaching.stages | stages, dataset, compare, tables=shown, **judged)


def student_stages(
    name: str,
    section: Config,
    config: Config,
    table: Table,
    objectives: Table,
    dataset: Any,
    teaching: Teaching,
    inception: Judge | None,
) -> dict[str, Stage]:
    """The stages that teach a student by one method.

    Args:
      name: of the last one.
      section: the method's name and options.
      config: filled.
      table: of the methods by name.
      objectives: of the offline methods by name.
      dataset: whose shape and classes the images have.
      teaching: the teacher.
      inception: in whose features images are judged too, or None.
    """
    settings = plain(section)
    method, often = settings.pop("name"), settings["student_steps"]
    check_count(student_steps=often)
    each = max(1, round(config.student_steps_per_epoch / often))
    entry = pick("method", method, table)
    check_accumulation(entry, "student_training", config.student_training.micro)
    plain_images = {"mean": [0.0] * dataset.shape[-1], "std": [1.0] * dataset.shape[-1]}
    # No training image tells what to normalise with, where none has taught the teacher here.
    normalised = (teaching.normalisation or plain_images) if teaching.outside else None
    net = net_specification(config.student_training.net, dataset, config, normalised=normalised)
    c = DataFreeContext(
        name=name, method=method, entry=entry, settings=settings, teaching=teaching, objectives=objectives, inception=inception,
        **context_fields(config, dataset, config.student_training, specification=net, epoch_steps=each),
    )  # fmt: skip
    return stages_of(c)
