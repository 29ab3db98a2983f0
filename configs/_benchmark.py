"""The experiment of many methods on one teacher."""

from collections.abc import Sequence
from typing import Any

from configs import _distillation as distillation
from configs import _methods
from configs._parts import Config, Experiment, load_data, method_options
from kdjax.core import check_option

PUBLISHED_EPOCHS = 240  # what warm-ups and first stages are told for


def sections_of(names: Sequence[str], *, epochs: int, **changed: Any) -> dict[str, dict]:
    """The options of methods by name; spans of epochs are as long a part of the run as they are of the published 240 epochs.

    Args:
      names: of methods, or sums of them.
      epochs: of the student.
      **changed: other defaults of options by name, where a method has them.

    Raises:
      InputError: for a name that is not known, or one that comes twice.
    """
    check_option("methods", tuple(names), lambda _: len(set(names)) == len(names), "every method once")

    def fitted(section):
        return {k: fitted(v) if isinstance(v, dict) else value(k, v) for k, v in section.items()}

    def value(name, default):
        span = name in ("warmup_epochs", "epochs") and default > 0
        return max(1, round(default * epochs / PUBLISHED_EPOCHS)) if span else changed.get(name, default)

    return {name: fitted(_methods.section(name)) for name in names}


def build(config: Config) -> Experiment:
    """Teacher, student alone (and with label smoothing), then a student by each of `config.methods`."""
    dataset = load_data(config)
    teaching = distillation.teacher_stage(config, dataset)
    stages, compare = distillation.students_alone(config, dataset)
    baselines = [*stages, *(["kd"] if "kd" in config.methods else [])]
    for name in config.methods:
        _, options = method_options(config.methods[name])
        own = distillation.student_stages(config, dataset, teaching, name, name, options)
        stages |= {n: stage._replace(optional=True) for n, stage in own.items()}
        compare += [(f"{name}/test_accuracy", f"{other}/test_accuracy") for other in baselines if other != name]
    return Experiment(teaching.stages | stages, dataset, tuple(compare), teaching.outside)
