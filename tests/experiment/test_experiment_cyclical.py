"""The experiment of what goes from easy to hard and back."""

import jax
import numpy as np
import pytest

from configs import cyclical as config_file
from kdjax.core import InputError
from kdjax.experiment import cyclical


def built(**changed):
    config = config_file.get_config()
    config.update({"seeds": 2, "student_training": {"epochs": 5, "net": {"widths": (3,)}}, **changed})
    return cyclical.build(config)


def test_each_part_has_its_constants():
    found = built(parts=("weight_decay", "hard"), ranges={"hard": (0.2, 1.0)})
    assert list(found.stages) == [
        "plain", "weight_decay_cyclic", "weight_decay_mean", "weight_decay_best", "hard_cyclic", "hard_mean", "hard_best",
        "all_cyclic",
    ]  # fmt: skip
    assert len({stage.steps for stage in found.stages.values()}) == 1
    assert found.stages["hard_best"].choose and found.stages["hard_best"].members == 6
    hardness = np.mean([0, 0.5, 1, 0.5, 0])  # of five epochs
    assert found.stages["hard_mean"].about["hard"] == pytest.approx((0.2 + hardness * 0.8,) * 2)
    assert ("hard_cyclic/test_accuracy", "hard_best/test_accuracy") in found.compare
    batch = {"image": np.zeros((2, 8, 8, 1), np.float32), "label": np.zeros(2, int), "index": np.arange(2)}
    for name in ("weight_decay_cyclic", "all_cyclic"):
        method = found.stages[name].method
        jax.eval_shape(lambda method=method: method.step(method.init(jax.random.key(0), batch, {}), batch, jax.random.key(0)))


def test_wrong_parts_and_ranges_are_refused():
    for changed, text in (
        ({"parts": ("momentum",)}, "parts"),
        ({"parts": ()}, r"^--config.parts=\(\) is not accepted"),
        ({"parts": ("clip",), "ranges": {"clip": (2.0, 1.0)}}, r"^--config.ranges.clip=\(2.0, 1.0\) is not accepted"),
        ({"parts": ("temperature",), "ranges": {"temperature": (2.0, 1.0)}}, r"^--config.ranges.temperature=\(2.0, 1.0\) "),
        ({"parts": ("hard",), "constants": {"hard": ()}}, r"^--config.constants.hard=\(\) is not accepted: expected numbers"),
        ({"cycle": 0.5}, r"^--config.cycle=0.5 is not accepted: expected a number, at least 1"),
    ):
        with pytest.raises(InputError, match=text):
            built(**changed)
