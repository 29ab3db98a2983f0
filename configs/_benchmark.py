"""The experiment of many methods on one teacher."""

from collections.abc import Sequence

from configs import _distillation as distillation
from configs import _methods
from configs._parts import Config, Experiment, load_data, method_options
from kdjax.core import check_option


def sections_of(names: Sequence[str]) -> dict[str, dict]:
    """The options of methods by name.

    Raises:
      InputError: for a name that is not known, or one that comes twice.
    """
    check_option("methods", tuple(names), lambda _: len(set(names)) == len(names), "every method once")
    return {name: _methods.section(name) for name in names}


def build(config: Config) -> Experiment:
    """Teacher, student alone (and with label smoothing), then a student by each of `config.methods`."""
    dataset = load_data(config)
    teaching = distillation.teacher_stage(config, dataset)
    stages, compare = distillation.students_alone(config, dataset)
    baselines = [*stages, *(["kd"] if "kd" in config.methods else [])]
    for name in config.methods:
        _, options = method_options(config.methods[name])
        stages |= distillation.student_stages(config, dataset, teaching, name, name, options)
        compare += [(f"{name}/test_accuracy", f"{other}/test_accuracy") for other in baselines if other != name]
    return Experiment(teaching.stages | stages, dataset, tuple(compare), teaching.outside)
