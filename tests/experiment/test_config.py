"""Values of a filled config."""

from ml_collections import ConfigDict

from kdjax.experiment.config import plain


def test_plain_values_are_those_of_json():
    section = ConfigDict({"widths": (1, 2), "net": {"name": "wrn", "drops": ()}, "rate": 0.1})
    assert plain(section) == {"widths": [1, 2], "net": {"name": "wrn", "drops": []}, "rate": 0.1}
    assert list(plain(section)) == list(plain(dict(section))) == ["net", "rate", "widths"]
