"""The experiment of submodels that teach each other."""

import pytest

from configs import cosub
from kdjax.core import InputError
from kdjax.experiment import submodels


def built(**net):
    config = cosub.get_config("student=vit")
    config.update({"seeds": 2, "student_training": {"net": {"depth": 2, "width": 8, "heads": 2, **net}}})
    return submodels.build(config)


def test_what_costs_the_same_is_compared():
    found = built()
    steps = {name: stage.steps for name, stage in found.stages.items()}
    each = steps["once"]
    assert steps == {"once": each, "longer": 2 * each, "twice": each, "cosub": each}
    assert {stage.members for stage in found.stages.values()} == {6}  # three rates, two seeds
    assert ("cosub/test_accuracy", "longer/test_accuracy") in found.compare
    assert found.stages["twice"].about["weight"] == 0.0 and found.stages["cosub"].about["weight"] == 0.5


def test_depth_that_is_not_dropped_is_refused():
    with pytest.raises(InputError, match=r"^cosub is not accepted with a network .*: expected drop_path above 0"):
        built(drop_path=0.0)
