"""How a protocol is told in words."""

import pytest

from launch.table.protocol import words

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
