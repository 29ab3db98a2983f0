"""Values of a filled config."""

from ml_collections import ConfigDict

from kdjax.experiment.config import lasting, plain


def test_plain_values_are_those_of_json():
    section = ConfigDict({"widths": (1, 2), "net": {"name": "wrn", "drops": ()}, "rate": 0.1})
    assert plain(section) == {"widths": [1, 2], "net": {"name": "wrn", "drops": []}, "rate": 0.1}


def test_what_lasts_says_nothing_of_devices_and_folders():
    assert lasting({"devices": 8, "data": {"dir": "x", "batch": 2}, "cache": {"dir": "y"}}) == {"data": {"batch": 2}, "cache": {}}
