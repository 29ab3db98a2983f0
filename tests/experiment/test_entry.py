"""What a config shows of a table of methods."""

import pytest

from configs.offline import METHODS
from kdjax import methods
from kdjax.core import InputError
from kdjax.experiment.entry import Entry, first_stage, keyword_defaults, method_section, methods_section, objective_of
from kdjax.methods.offline.tinymim import tinymim_objective

PACE = {"epochs": 30, "learning_rate": 0.0, "schedule": "", "drops": ()}


def test_a_section_has_the_options_of_the_method_and_of_its_stages():
    assert method_section("simkd", METHODS) == {"name": "simkd", "weight": 1.0, "factor": 2}
    assert method_section("kd", METHODS, weight=1.0)["weight"] == 1.0


def test_what_the_experiment_knows_is_not_shown():
    assert keyword_defaults(methods.crd).keys() & {"labels", "numbers", "axis_name", "micro"} == set()
    assert "steps_per_epoch" not in method_section("dkd", METHODS)


def test_a_first_stage_shows_its_pace_and_its_own_options():
    assert first_stage(methods.hsakd_teacher, epochs=7) == {**PACE, "epochs": 7, "joint": False}
    changed = method_section("ab", METHODS, first={"learning_rate": 0.5})
    assert changed["first"] == {**PACE, "schedule": "constant", "learning_rate": 0.5, **keyword_defaults(methods.ab)}
    assert method_section("ab", METHODS)["first"]["learning_rate"] == 0.0  # the table is as it was


def test_a_sum_has_the_options_of_its_parts():
    found = method_section("crd+kd", METHODS)
    assert found["label_weight"] == found["kd"]["weight"] == 1.0 and found["crd"]["weight"] == 0.8


def test_spans_of_epochs_are_as_long_a_part_of_a_shorter_run():
    found = methods_section(("dkd", "ab"), METHODS, share=0.1, beta=3.0)
    assert (found["dkd"]["warmup_epochs"], found["dkd"]["beta"], found["ab"]["first"]["epochs"]) == (2, 3.0, 3)
    assert methods_section(("dkd",), METHODS, share=0.001)["dkd"]["warmup_epochs"] == 1
    with pytest.raises(InputError, match="expected every method once"):
        methods_section(("kd", "kd"), METHODS)


def test_what_can_be_a_part_of_a_sum():
    assert objective_of("kd", METHODS) is methods.kd.objective and objective_of("tinymim", METHODS) is tinymim_objective
    for name in ("fitnet_two_stage", "ft", "mlkd", "simkd"):
        with pytest.raises(InputError, match=f"method '{name}' cannot be a part of a sum"):
            objective_of(name, METHODS)
    assert objective_of("own", {"own": Entry(methods.at)}).__name__ == "at_objective"
