"""The experiment of an encoder that learns without labels."""

import pytest

from configs import ssl
from kdjax.core import InputError
from kdjax.experiment import representation
from kdjax.experiment.entry import Entry


@pytest.fixture
def config():
    found = ssl.get_config()
    found.encoder_training.net.widths = (4,)
    return found


def test_the_encoder_stands_beside_itself_untrained(config):
    found = ssl.build(config)
    untrained, encoder = found.stages.values()
    assert list(found.stages) == ["untrained", "encoder"] and untrained.steps * 40 == encoder.steps
    assert [floor for _, floor in found.compare] == ["untrained/test_probe_accuracy", "encoder/test_pixels_probe_accuracy"]
    assert encoder.nets["encoder"]["classes"] == 0


def test_a_method_sees_its_heads_views_and_steps(config):
    seen = []

    def make(c):
        seen.append((c.steps, c.options["steps"], c.options["probe"] is not None, c.axis_name, c.mlp_head(), c.encoder))
        return ssl.train_byol(c)

    representation.build(config, {"byol": Entry(ssl.METHODS["byol"].method, make)})
    assert [(steps, told, probe) for steps, told, probe, *_ in seen] == [(n, n, True) for n in (5 * 10, 200 * 10)]


def test_gradients_are_accumulated_by_methods_that_can(config):
    config.encoder_training.micro = 2
    with pytest.raises(InputError, match=r"encoder_training.micro=2 is not accepted: expected 1: this method does not"):
        ssl.build(config)
