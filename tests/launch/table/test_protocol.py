"""How a protocol is told in words."""

import pytest

from launch.table.protocol import differences, protocol_of, words

VIEWS = {"kind": "affine", "affine": {"rotation": 0.25, "noise": 0.05}, "crop": {"area": [0.2, 1.0]}, "small": {"count": 0}}


def told(**config):
    return words({"config": {"data": {"augment": "none", "batch": 8}, **config}}, {}, [])


def test_the_augmentation_is_told():
    assert "augmentation none" in told()


@pytest.mark.parametrize(("small", "more"), [(0, ""), (6, ", and 6 small ones")])
def test_views_are_told_in_its_place(small, more):
    said = told(views={**VIEWS, "small": {"count": small}})
    assert f"views affine: rotation 0.25, noise 0.05{more}" in said
    assert not [phrase for phrase in said if "augmentation" in phrase or "area" in phrase]


@pytest.mark.parametrize(("teacher", "said"), [("", "trained in the run"), ("runs/big", "big")])
def test_the_precision_of_a_teachers_kernels_is_told(teacher, said):
    phrase = next(phrase for phrase in told(teacher=teacher, teacher_precision="int8") if phrase.startswith("teacher "))
    assert said in phrase and phrase.endswith(", its kernels in int8 while it teaches")
    assert not any("kernels" in phrase for phrase in told(teacher=teacher, teacher_precision=""))


def test_what_quantised_kernels_lose_and_save_is_told():
    measures = {"int8_agreement": 99.5, "megabytes": 4.0, "int8_megabytes": 1.0625}
    summary = {"results": {f"teacher/test_{name}": {"mean": value} for name, value in measures.items()}}
    config = {"data": {}, "teacher": "", "teacher_precision": "int8"}
    (phrase,) = (phrase for phrase in words({"config": config}, summary, []) if "kernels" in phrase)
    assert phrase.endswith("teaches (the class of float32 on 99.50% of test images, 1.062 of 4.000 MB)")


def test_runs_whose_teachers_differ_in_precision_have_two_protocols():
    older, plain, int8 = (
        {"config": {"data": {}, "teacher": "", **more}} for more in ({}, {"teacher_precision": ""}, {"teacher_precision": "int8"})
    )
    assert not list(differences(protocol_of(older, {}), protocol_of(plain, {})))
    assert list(differences(protocol_of(plain, {}), protocol_of(int8, {}))) == [("teacher_precision", "", "int8")]
