"""A student whose layers learn first."""

import pytest
from contexts import STUDENT, stages_of

from kdjax import models
from kdjax.core import InputError

TEACHER = models.conv_net((3, 4), 4)


def test_nobody_teaches_after_hints_but_where_the_method_says_so():
    alone = stages_of("ab", TEACHER)
    assert list(alone) == ["student_first", "student"] and alone["student"].nets == {"network": STUDENT}
    assert alone["student"].method.needs == () and alone["student_first"].method.needs == ("teacher",)
    both = stages_of("fitnet_two_stage", TEACHER)["student"]
    assert both.method.needs == ("teacher",) and both.nets == {"student": STUDENT}


def test_the_first_stage_has_a_pace_of_its_own():
    first, last = stages_of("ab", TEACHER, first={"epochs": 7}).values()
    assert (first.steps, last.steps) == (7 * 15, 3 * 15)
    assert first.intermediate and not last.intermediate and last.warm_start_from == "student_first"


def test_methods_of_two_stages_take_several_teachers_as_one():
    with pytest.raises(InputError, match=r"--config.teachers_combine='separate' is not accepted: expected ensemble with tinymim"):
        stages_of("tinymim", TEACHER, separate=(0.5, 0.5))
