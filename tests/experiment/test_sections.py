"""Sections of a config, and the words that choose and sweep."""

import pytest

from kdjax.core import InputError
from kdjax.experiment import sections


def test_a_net_has_the_options_that_it_takes():
    small = sections.training_section("conv_net", epochs=2, optimiser={}, widths=(4,))
    assert small == {"net": {"name": "conv_net", "widths": (4,)}, "epochs": 2, "micro": 1, "average": 0.0, "optimiser": {}}
    assert sections.training_section("vit", epochs=20, optimiser={})["optimiser"]["warmup_epochs"] == 1.0


def test_a_variant_names_what_has_a_default():
    assert sections.variant("method=at", method="kd", student="wrn") == {"method": "at", "student": "wrn"}
    for text, told in (("methd=at", "accepted: method=<name>"), ("method=at,method=kd", "it names method twice")):
        with pytest.raises(InputError, match=told):
            sections.variant(text, method="kd")


def test_numbers_of_a_method_and_the_learning_rate_are_swept():
    options = {"temperature": 4.0, "negatives": 3}
    assert sections.swept("temperature=1,2 learning_rate=.5", options) == {"temperature": (1.0, 2.0), "learning_rate": (0.5,)}
    for text in ("negatives=1,2", "temperature=1,1", "temperature=x"):
        with pytest.raises(InputError, match="is not accepted at"):
            sections.swept(text, options)
