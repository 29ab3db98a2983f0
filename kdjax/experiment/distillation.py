"""The experiment of a teacher and its students."""

from typing import Any

from kdjax import data
from kdjax.core import InputError, Method, check_option, pick
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, by_accuracy, context_fields, stages_of
from kdjax.experiment.data import load_data
from kdjax.experiment.entry import Entry, Table, objectives_of
from kdjax.experiment.mixing import with_words
from kdjax.experiment.student import StudentContext, beside_teacher
from kdjax.experiment.teaching import Teaching, teacher_of
from kdjax.methods import recipes
from kdjax.train import Stage

WITHOUT_TEACHER = ("student_alone", "student_smoothed")


def build(config: Config, table: Table) -> Experiment:
    """Teacher, student alone, the same with label smoothing (where `config.smoothing` is above 0), and distilled students.

    `config.method` makes one, `student`. `config.methods` makes one by each method, under its name; the run goes on without those
    that diverge. Students without a teacher have their learning rate chosen among `config.baseline_rates` on validation images;
    with `config.sweep` the distilled ones have options of their own chosen so.

    With `config.labels_per_class` above 0 students know only so many labels: the student alone learns from those images, the
    distilled ones from all images, most without a label. All students take the same number of steps.

    Args:
      config: filled.
      table: of the methods by name.
    """
    dataset = load_data(config)
    teaching = teacher_of(config, dataset)
    labelled, source = student_sources(config, dataset)
    shared = context_fields(config, dataset, config.student_training, source=labelled)
    stages = students_alone(config, shared)
    shared["source"] = source
    alone, many = list(stages), "methods" in config
    taught = config.methods if many else {"student": config.method}
    for name, section in taught.items():
        own = student_stages(name, section, table, teaching, shared)
        stages |= {stage: one._replace(optional=many) for stage, one in own.items()}
    among = [(name, alone[0]) for name in alone[1:]]
    gains = [(name, other) for name in taught for other in (*alone, *["kd"] * ("kd" in taught)) if other != name]
    compare = among + gains if many else gains + among
    return Experiment(teaching.stages | stages, dataset, by_accuracy(compare), teaching.outside)


def student_sources(config: Config, dataset: data.Dataset) -> tuple[data.Source, data.Source]:
    """What students learn from: `(the labelled images, all images)`, the same where all labels are known."""
    per_class = config.labels_per_class
    check_option("labels_per_class", per_class, lambda n: n >= 0, "0 (all) or more")
    if not per_class:
        return dataset.train, dataset.train
    try:
        return data.keep_labels(dataset.train, per_class, config.data.seed)
    except InputError as error:
        why = str(error).removeprefix(f"per_class={per_class} is not accepted: ")
        raise InputError(f"--config.labels_per_class={per_class} is not accepted: {why}; 0 keeps all labels") from None


def students_alone(config: Config, shared: dict[str, Any]) -> dict[str, Stage]:
    """The stages of students without a teacher."""
    grid = {"learning_rate": tuple(config.baseline_rates)} if config.baseline_rates else None
    stages = {}
    for name, smoothing in zip(WITHOUT_TEACHER, (0.0, config.smoothing) if config.smoothing else (0.0,), strict=False):
        stages |= ClassifierContext(name=name, settings={"smoothing": smoothing}, **shared).stage(grid=grid)
    return stages


def student_stages(name: str, section: Config, table: Table, teaching: Teaching, shared: dict[str, Any]) -> dict[str, Stage]:
    """The stages that teach a student by one method, or a sum.

    Args:
      name: of the last one.
      section: the method's name and options.
      table: of the methods by name.
      teaching: the teacher.
      shared: the other fields of a `StudentContext`.
    """
    method, settings, words = with_words(plain(section), table)
    if "+" in method or teaching.separate:
        entry = _sum(method, settings, table, teaching.separate)
    else:
        entry = pick("method", method, table)
        entry = entry._replace(make=entry.make or beside_teacher)
    return stages_of(
        StudentContext(name=name, method=method, entry=entry, settings=settings, words=words, teaching=teaching, **shared)
    )


def _sum(method: str, settings: dict, table: Table, shares: tuple[float, ...]) -> Entry:
    """The labels and the objectives of one method or several, those of separate teachers each with its share."""
    parts = method.split("+")
    if shares:
        plain_sum = len(parts) > 1 or not ("first" in settings or pick("method", method, table).objective)
        what = f"ensemble with {method}, which is more than an objective beside the labels"
        check_option("--config.teachers_combine", "separate", lambda _: plain_sum, what)

    def make(c: StudentContext) -> Method:
        options = dict(c.settings)
        label_weight = options.pop("label_weight")
        terms = objectives_of(method, options, table, c.known)
        if shares:
            terms = [recipes.each_teacher(one, len(shares), weights=shares) for one in terms]
        total = recipes.combine(recipes.labels_objective(label_weight), *terms)
        return recipes.student(c.student, c.tx, total, teacher=c.teacher_or_encoder, axis_name=c.axis_name, micro=c.micro)

    return Entry(recipes.student, make)
