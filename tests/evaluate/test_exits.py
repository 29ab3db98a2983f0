"""What is measured of a network with exits, on logits made by hand."""

import numpy as np
from collected import LABELS, collected

from kdjax.evaluate.exits import classification_of_exits


def right(*rows, scale=5.0):
    """Logits of 12 rows, 6 classes, these rows right and the others one class off."""
    guess = np.where(np.isin(np.arange(12), rows), LABELS, (LABELS + 1) % 6)
    return scale * np.eye(6, dtype=np.float32)[guess]


def test_each_exit_is_measured_and_all_together_but_the_shipped_one_is_the_network():
    """Two members; an exit that is better than the network changes none of the network's names."""
    own, first, second = right(*range(6)), right(*range(3), scale=8.0), right(*range(9))
    taps = {name: np.stack([x, right(*range(12))]) for name, x in {"exit2": second, "logits": own, "exit1": first}.items()}
    found = classification_of_exits(collected({"test": {"network": taps}}), "test", True)
    np.testing.assert_allclose(found["accuracy"], [50, 100])
    np.testing.assert_allclose(found["exit1_accuracy"], [25, 100])
    np.testing.assert_allclose(found["exit2_accuracy"], [75, 100])
    np.testing.assert_allclose(found["ensemble_accuracy"], [50, 100])  # the first is surer than one other, not than two


def test_on_the_way_and_without_exits_it_is_that_of_classifiers():
    taps = {"logits": right(0)[None], "exit1": right(1)[None]}
    assert set(classification_of_exits(collected({"val": {"network": taps}}), "val", False)) == {"accuracy"}
    found = classification_of_exits(collected({"test": {"network": {"logits": right(0)[None]}}}), "test", True)
    assert {"accuracy", "nll"} <= set(found) and "ensemble_accuracy" not in found
