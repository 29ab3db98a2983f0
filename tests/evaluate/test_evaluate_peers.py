"""What is measured of networks side by side, on logits made by hand."""

import numpy as np
from collected import LABELS, collected

from kdjax.evaluate.peers import classification_of_peers


def right(*rows, scale=5.0):
    """Logits of 12 rows, 6 classes, these rows right and the others one class off."""
    guess = np.where(np.isin(np.arange(12), rows), LABELS, (LABELS + 1) % 6)
    return scale * np.eye(6, dtype=np.float32)[guess]


def test_peers_are_measured_each_in_the_mean_and_together():
    """Two members of three peers: of two that agree against a third, the two decide, unless it is surer than both."""
    first = np.stack([right(*range(9)), right(*range(12))])
    second = np.stack([right(*range(6)), right(*range(12))])
    third = np.stack([right(*range(3), scale=11.0), right(*range(12))])
    networks = {"peer0": {"logits": first}, "peer1": {"logits": second}, "peer2": {"logits": third}}
    found = classification_of_peers(collected({"test": networks}), "test", True)
    np.testing.assert_allclose(found["accuracy"], [75, 100])
    np.testing.assert_allclose(found["peer2_accuracy"], [25, 100])
    np.testing.assert_allclose(found["mean_accuracy"], [50, 100])
    np.testing.assert_allclose(found["ensemble_accuracy"], [25, 100])
    np.testing.assert_allclose(found["disagreement"], [100 * (3 + 6 + 3) / 12 / 3, 0])


def test_what_a_method_makes_of_all_is_measured_too():
    networks = {"peer0": {"logits": right(0)[None], "together": right(*range(6))[None]}, "peer1": {"logits": right(1)[None]}}
    found = classification_of_peers(collected({"test": networks}), "test", True)
    np.testing.assert_allclose([*found["together_accuracy"], *found["accuracy"]], [50, 100 / 12], rtol=1e-5)


def test_while_training_it_is_that_of_classifiers():
    networks = {"peer0": {"logits": right(0)[None]}, "peer1": {"logits": right(1, 2)[None]}}
    assert set(classification_of_peers(collected({"val": networks}), "val", False)) == {"accuracy", "peer1_accuracy"}
