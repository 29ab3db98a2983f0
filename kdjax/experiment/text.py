"""A language model that teaches a smaller one, token by token."""

from typing import Any

from kdjax import methods
from kdjax.core import pick
from kdjax.evaluate.classifier import classification
from kdjax.experiment.classifier import ALONE
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Context, Experiment, context_fields, make_stage
from kdjax.experiment.data import load_data, sampler
from kdjax.experiment.entry import Entry, Table


def build(config: Config, table: Table) -> Experiment:
    """Teacher, student alone, and `student`, which `config.method` teaches; of rows of tokens with a label each.

    Args:
      config: filled.
      table: of the methods by name: objectives of logits `[B, T, K]`.
    """
    dataset = load_data(config)

    def context(name: str, section: Config, entry: Entry, settings: dict, members: int) -> Context:
        net = {"name": "causal_transformer", "classes": dataset.classes, "dtype": config.precision, **plain(section.net)}
        fields = context_fields(config, dataset, section, specification=net, members=members)
        return Context(name=name, entry=entry, settings=settings, **fields)

    def stage(c: Context, make: Any, method: str, **fields: Any) -> Any:
        about = {"training": dict(c.training), "method": method, **c.settings}
        usual = {
            "batch": config.data.batch, "about": about, "nets": {"network": c.specification}, "source": c.source,
            "sampler": sampler(config, c.source), "evaluate": classification, "score": "accuracy",
        }  # fmt: skip
        return make_stage(c, make, **(usual | fields))

    def alone(c: Context) -> Any:
        return methods.supervised(c.build(c.specification), c.tx, axis_name=c.axis_name, micro=c.micro)

    def taught(c: Context) -> Any:
        return c.entry.method(c.build(c.specification), c.build(teacher.specification), c.tx, **c.options)

    settings = plain(config.method)
    method = settings.pop("name")
    teacher = context("teacher", config.teacher_training, ALONE, {}, 1)
    plainly = context("student_alone", config.student_training, ALONE, {}, config.seeds)
    student = context("student", config.student_training, pick("method", method, table), settings, config.seeds)
    given = {"given": lambda results: {"teacher": results["teacher"].frozen()}, "nets": {"student": student.specification}}
    stages = {
        "teacher": stage(teacher, alone, "supervised"),
        "student_alone": stage(plainly, alone, "supervised"),
        "student": stage(student, taught, method, **given),
    }
    compare = tuple((f"student/test_{measure}", f"student_alone/test_{measure}") for measure in ("accuracy", "nll"))
    return Experiment(stages, dataset, compare)
