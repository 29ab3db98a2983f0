"""Options that only some methods have, from the command line to the networks that are built."""

import jax
import jax.numpy as jnp
import pytest
from settings import setting

from configs import _methods
from kdjax import models
from kdjax.core import InputError
from launch.run import cli

QUICKSTART = "configs/quickstart.py:method="


@pytest.mark.parametrize(
    "text", ["stage1=stage2,stage2=stage3", "('stage1=stage2','stage2=stage3')", "stage1=stage2, stage2=stage3"]
)
def test_layers_are_names_with_commas(text):
    _, config = cli.read_config(f"{QUICKSTART}vid", (f"--config.method.layers={text}",))
    assert tuple(config.method.layers) == ("stage1=stage2", "stage2=stage3")


def test_one_layer_none_and_a_number():
    _, config = cli.read_config(f"{QUICKSTART}ofd", ("--config.method.norms=stage1_bn", "--config.method.layers=()"))
    assert tuple(config.method.norms) == ("stage1_bn",) and tuple(config.method.layers) == ()
    with pytest.raises(InputError, match=r"--config.method.layers='3' is not accepted: expected values of type str"):
        cli.read_config(f"{QUICKSTART}ofd", ("--config.method.layers=3",))


@pytest.mark.parametrize(("teacher", "wanted"), [(models.conv_net((4, 6, 8)), (8, [4, 4])), (models.wrn(10, 1), (64, [4, 4]))])
def test_simkd_s_student_has_a_projector_to_the_teacher_s_last_map(teacher, wanted):
    own = {"name": "conv_net", "widths": [3, 4], "classes": 7, "dtype": "float32", "mean": [0.1], "std": [0.2]}
    found = _methods.METHODS["simkd"].student(setting(own, teacher, shape=(16, 16, 1)), factor=4)
    assert found == {
        "name": "projected", "net": {"name": "conv_net", "widths": [3, 4], "classes": 0}, "tap": "stage2", "channels": wanted[0],
        "size": wanted[1], "factor": 4, "classes": 7, "dtype": "float32", "mean": [0.1], "std": [0.2],
    }  # fmt: skip
    net = models.build(found)
    taps, _ = jax.eval_shape(lambda x: net.apply(*net.init(jax.random.key(0), x), x, train=False), jnp.zeros((2, 16, 16, 1)))
    assert taps["head"].shape == (2, 4, 4, wanted[0]) and taps["logits"].shape == (2, 7)


def test_its_factor_is_an_option_of_the_method():
    assert _methods.section("simkd") == {"name": "simkd", "weight": 1.0, "factor": 2}
