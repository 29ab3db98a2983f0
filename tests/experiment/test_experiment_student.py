"""What a student is taught from."""

import pytest
from contexts import STUDENT, context, teaching

from kdjax import methods, models
from kdjax.core import InputError
from kdjax.experiment.entry import Entry, first_stage
from kdjax.experiment.student import beside_teacher

TEACHER = models.conv_net((3, 4), 4)
KD = Entry(methods.kd, beside_teacher)


def test_a_stage_before_has_a_pace_and_options_of_its_own():
    c = context(TEACHER, KD).first(methods.at, first_stage(methods.at, epochs=2, learning_rate=0.5))
    assert (c.name, c.steps, c.training["optimiser"]["learning_rate"]) == ("student_first", 30, 0.5)
    assert c.training["optimiser"]["schedule"] == context(TEACHER).training["optimiser"]["schedule"]
    assert c.settings["power"] == 2 and "epochs" not in c.settings
    stage = c.stage()["student_first"]
    assert stage.intermediate and stage.evaluate(None, "test", True) == {}


def test_what_is_trained_may_be_more_than_the_student_s_net():
    more = {**STUDENT, "widths": [5]}
    stage = context(TEACHER, KD).stage(student=more)["student"]
    assert stage.nets == {"student": more} and stage.given({"teacher": 1}) == {"teacher": 1}
    assert context(TEACHER, KD).stage()["student"].nets == {"student": STUDENT}


def test_only_outputs_of_this_teacher_on_these_images_are_cached():
    c = context(TEACHER, KD)
    c.config.cache.views, c.config.data.augment = 1, "affine"
    assert c.stage()["student"].teacher_cache.views == 1
    with pytest.raises(InputError, match=r"cache.views=1 is not accepted: kd asks a teacher about other images"):
        c.stage(cached=False)


def test_a_teacher_of_other_classes_is_refused_by_who_asks_for_the_classes():
    c = context(TEACHER, KD)
    other = c.taught_by(TEACHER, c.teaching.given)
    assert other.teacher is TEACHER
    for classes, told in ((0, "it holds an encoder without classes"), (7, "it has 7 classes, the data has 4")):
        strange = teaching(TEACHER, classes=(("run", classes),))
        with pytest.raises(InputError, match=f"--config.teacher=run is not accepted: {told}"):
            strange.check_classes(4)
