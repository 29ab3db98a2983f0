"""The specification of a net for a data set."""

import pytest
from contexts import shared
from ml_collections import ConfigDict

from kdjax.core import InputError
from kdjax.experiment.nets import given_normalisation, net_specification


def test_the_data_gives_classes_precision_and_what_images_are_normalised_with():
    given = shared()
    config, dataset = given["config"], given["dataset"]
    config.data.mean, config.data.std = (0.5,), (0.25,)
    found = net_specification(ConfigDict({"name": "conv_net", "widths": (3,)}), dataset, config)
    wanted = {"name": "conv_net", "widths": [3], "classes": 4, "dtype": "float32", "mean": [0.5], "std": [0.25]}
    assert found == wanted and net_specification(ConfigDict({"name": "wrn"}), dataset, config, classes=0)["classes"] == 0


def test_texts_are_refused():
    given = shared()
    with pytest.raises(InputError, match=r"^--config.data.source=.* has texts: expected images"):
        net_specification(ConfigDict({"name": "conv_net"}), given["dataset"]._replace(shape=(64,)), given["config"])


@pytest.mark.parametrize(
    "section", [{"mean": (0.1,), "std": ()}, {"mean": (0.1, 0.2), "std": (1.0, 1.0)}, {"mean": (1,), "std": (0,)}]
)
def test_a_number_a_channel(section):
    with pytest.raises(InputError, match=r"--config.teacher_(mean|std)=.* is not accepted"):
        given_normalisation(section, "teacher_", shared()["dataset"])
