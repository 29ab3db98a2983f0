"""The experiment of a teacher without its data: its student sees images that a generator makes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import optax

from kdjax.core import Net, pick
from kdjax.evaluate.classifier import classification
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Context, Experiment, axis_name, make_stage, stages_of
from kdjax.experiment.data import load_data
from kdjax.experiment.entry import Table, check_accumulation
from kdjax.experiment.nets import net_specification
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.teaching import Teaching, teacher_of
from kdjax.train import Stage

SAMPLES = 64  # images of a generator to look at


@dataclass(frozen=True, kw_only=True)
class DataFreeContext(Context):
    """What a student is taught from without data; an epoch has `config.steps_per_epoch` steps of the generator.

    Attributes:
      teaching: its teacher.
    """

    teaching: Teaching

    @property
    def student(self) -> Net:
        """The net."""
        return self.build(self.specification)

    @property
    def teacher(self) -> Net:
        """The teacher, which tells the classes of the data apart."""
        self.teaching.check_classes(self.dataset.classes)
        return self.teaching.net

    @property
    def tx(self) -> optax.GradientTransformation:
        """The student's optimiser, for its `student_steps` in each step."""
        often = self.settings.get("student_steps", 1)
        return make_optimiser(self.training["optimiser"], self.steps * often, self.steps_per_epoch * often)

    @property
    def generator_specification(self) -> dict:
        """Of a net from latents to images of the data's shape."""
        (*size, channels), latent = self.dataset.shape, self.settings["latent"]
        own = {"name": "generator", "size": size, "channels": channels, "latent": latent, "dtype": self.config.precision}
        return own | {"features": self.config.generator.features}

    @property
    def generator(self) -> Net:
        """From latents to images."""
        return self.build(self.generator_specification)

    @property
    def generator_tx(self) -> optax.GradientTransformation:
        """The generator's optimiser."""
        return make_optimiser(plain(self.config.generator.optimiser), self.steps, self.steps_per_epoch)

    def stage(self, make: Callable[..., Any] | None = None, **fields: Any) -> dict[str, Stage]:
        """One stage by its name.

        Args:
          make: `c -> Method`; None: that of the entry.
          **fields: others of `Stage` than those of all students without data.
        """
        generator = replace(self, axis_name=None).generator

        def samples(state, key):
            z = jax.random.normal(key, (SAMPLES, self.settings["latent"]))
            return generator.apply(state.generator.params, state.generator.stats, z, train=True)[0]["image"]

        usual = {
            "batch": self.config.data.batch,
            "about": {"method": self.config.method.name},
            "nets": {"student": self.specification, "generator": self.generator_specification},
            "source": None,
            "evaluate": classification,
            "score": "accuracy",
            "given": self.teaching.given,
            "samples": samples,
        }
        return {self.name: make_stage(self, make, **(usual | fields))}


def build(config: Config, table: Table) -> Experiment:
    """A teacher, and a student that never sees its data.

    Args:
      config: filled.
      table: of the methods by name.
    """
    training, settings = plain(config.student_training), plain(config.method)
    entry = pick("method", settings.pop("name"), table)
    check_accumulation(entry, "student_training", training["micro"])
    dataset = load_data(config)
    teaching = teacher_of(config, dataset)
    c = DataFreeContext(
        config=config, dataset=dataset, name="student", entry=entry, settings=settings, training=training, teaching=teaching,
        specification=net_specification(config.student_training.net, dataset, config), steps_per_epoch=config.steps_per_epoch,
        source=dataset.train, members=config.seeds, axis_name=axis_name(config),
    )  # fmt: skip
    return Experiment(teaching.stages | stages_of(c), dataset, outside=teaching.outside)
