"""Choices by validation images need some, whoever cut them."""

import pytest
from ml_collections import ConfigDict

from configs import quickstart
from kdjax.core import InputError
from kdjax.data import load
from launch.run.checks import check, check_validation


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"select": "best", "baseline_rates": ()}, "select='best' is not accepted"),
        ({}, "validation images choose among baseline_rates"),
        ({"baseline_rates": (), "sweep": "temperature=1,2"}, "validation images choose among the points of --config.sweep"),
    ],
)
def test_validation_images_of_the_set_itself_suffice(changed, line):
    config = ConfigDict(quickstart.get_config().to_dict() | changed)
    config.data.val_fraction = 0.0
    check(config, "quickstart.py")
    dataset = load("digits")
    with pytest.raises(InputError, match=line):
        check_validation(config, dataset)
    check_validation(config, dataset._replace(val=dataset.test))
