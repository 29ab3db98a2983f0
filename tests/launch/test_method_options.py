"""Options that only some methods have, from the command line to the networks that are built."""

import pytest

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
