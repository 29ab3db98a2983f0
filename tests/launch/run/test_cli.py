"""What flags make of a config."""

import itertools

import pytest

from kdjax.core import InputError
from kdjax.experiment.sections import OPTIMISER_OPTIONS, TRICKS
from launch.run import checks, cli

AT = "--config.encoder_training.optimiser"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_another_optimiser_brings_its_own_fields_in_any_order_of_flags(order):
    flags = f"{AT}.name=lars", f"{AT}.learning_rate=0.3", f"{AT}.eta=0.02"
    _, config = cli.read_config("configs/digits_byol.py", [flags[i] for i in order])
    section, before = config.encoder_training.optimiser, cli.read_config("configs/digits_byol.py", [])[1].encoder_training.optimiser
    assert before.name == "adam" and before.learning_rate != 0.3
    kept = {k: before[k] for k in ("schedule", "drops", "warmup_epochs", "last_share", *TRICKS)}
    assert section.to_dict() == {"name": "lars", "learning_rate": 0.3, **kept, **OPTIMISER_OPTIONS["lars"], "eta": 0.02}
    checks.check(config, "digits_byol.py")


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("none", None), ("None", None)])
def test_a_number_that_may_be_left_out(text, value):
    _, config = cli.read_config("configs/ssl.py:method=twist", [f"--config.method.momentum={text}"])
    assert config.method.momentum == value
    for wrong in ("some", "nan", "1e300", ""):
        with pytest.raises(InputError, match=f"momentum='{wrong}' is not accepted: expected a number, or none"):
            cli.read_config("configs/ssl.py:method=twist", [f"--config.method.momentum={wrong}"])


def test_the_same_optimiser_keeps_its_fields():
    _, config = cli.read_config("configs/digits_byol.py", [f"{AT}.name=adam", f"{AT}.weight_decay=0.5"])
    assert config.encoder_training.optimiser.weight_decay == 0.5
