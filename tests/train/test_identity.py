"""Why something that was written is not a stage's, in words."""

import pytest
from tiny import named

from kdjax.train.identity import Identity, cause

OWN = Identity(
    {"settings": {"steps": 6}, "inputs": {"data": "c0"}, "programs": {"step": "d0", "prediction": "e0"}},
    {"about": {"rate": 0.1}, "platform": {"jax": "0.10.2"}},
)


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("settings", {"steps": 12}, "steps=12, this run has 6"),
        ("settings", {}, "no steps"),
        ("inputs", {"data": "c1"}, "other data"),
        ("programs", {"step": "d1", "prediction": "e0"}, "another program traced from its step, which nothing else explains"),
        (
            "programs", {"step": "d1", "prediction": "e1"},
            "another program traced from its step and its prediction, which nothing else explains",
        ),
    ],
)  # fmt: skip
def test_the_first_part_that_differs_is_named(part, values, words):
    written = {"parts": {**OWN.parts, part: values}, "told": OWN.told}
    assert cause(written, OWN) == words


def test_what_is_only_told_explains_a_program_that_differs_and_counts_for_nothing():
    programs = {**OWN.parts, "programs": {"step": "d1", "prediction": "e0"}}
    older = {"about": {"rate": 0.1}, "platform": {"jax": "0.0.1"}}
    assert cause({"parts": programs, "told": older}, OWN) == "jax=0.0.1, this run has 0.10.2"
    assert cause({"parts": programs, "told": {**older, "about": {"rate": 0.2}}}, OWN) == "rate=0.2, this run has 0.1"
    assert cause({"parts": OWN.parts, "told": older}, OWN) == "" == cause(OWN.written(), OWN)
    assert OWN._replace(told={}, measures="f0").digest == OWN.digest != named("other").digest


@pytest.mark.parametrize("written", [None, "text", {}, {"parts": {"settings": 3}}, {"parts": [1]}])
def test_what_no_version_of_today_wrote_is_said_to_be_another(written):
    assert cause(written, OWN) == "another version of kdjax"


def test_parts_that_are_no_tables_are_no_more_than_a_difference():
    assert cause({"parts": {"settings": 3, "inputs": None, "programs": "x"}, "told": 5}, OWN) == "no steps"
