"""What is measured of classifiers, on logits made by hand."""

import numpy as np
from collected import LABELS, collected

from kdjax.evaluate.classifier import classification, classification_together, near_chance, sampling_error, with_quantised


def right(count, scale=5.0):
    """Logits of 12 rows, 6 classes, the first `count` rows right and the others one class off."""
    guess = np.where(np.arange(12) < count, LABELS, (LABELS + 1) % 6)
    return scale * np.eye(6, dtype=np.float32)[guess]


def test_accuracy_while_training_for_every_member_and_network():
    networks = {"peer0": {"logits": np.stack([right(12), right(6)])}, "peer1": {"logits": np.stack([right(3), right(0)])}}
    found = classification(collected({"val": networks}), "val", False)
    assert {k: v.tolist() for k, v in found.items()} == {"accuracy": [100, 50], "peer1_accuracy": [25, 0]}


def test_final_measures_of_a_student_and_its_agreement_with_the_teacher():
    networks = {"student": {"logits": np.stack([right(9), right(6)])}, "teacher": {"logits": np.stack([right(12)] * 2)}}
    found = classification(collected({"test": networks}), "test", True)
    assert set(found) == {"accuracy", "top5_accuracy", "nll", "ece", "brier", "agreement"}
    np.testing.assert_allclose(found["accuracy"], [75, 50])
    np.testing.assert_allclose(found["agreement"], [75, 50])
    # All rows are equally sure: p of the guess, q of each other class.
    p, q = np.exp(5) / (np.exp(5) + 5), 1 / (np.exp(5) + 5)
    np.testing.assert_allclose(found["ece"], [100 * (p - 0.75), 100 * (p - 0.5)], rtol=1e-4)
    np.testing.assert_allclose(found["nll"], [-np.log(p) * r - np.log(q) * (1 - r) for r in (0.75, 0.5)], rtol=1e-4)
    hit, miss = (1 - p) ** 2 + 5 * q**2, p**2 + (1 - q) ** 2 + 4 * q**2
    np.testing.assert_allclose(found["brier"], [hit * r + miss * (1 - r) for r in (0.75, 0.5)], rtol=1e-4)


def test_with_an_encoder_as_teacher_there_is_no_agreement():
    networks = {"student": {"logits": right(9)[None]}, "teacher": {"pooled": np.zeros((1, 12, 3))}}
    found = classification(collected({"test": networks}), "test", True)
    assert found["accuracy"] == 75 and "agreement" not in found


def test_a_network_agrees_with_itself_in_fewer_bytes_where_both_name_one_class():
    networks = {"network": {"logits": np.stack([right(9), right(6)])}, "int8": {"logits": np.stack([right(12), right(6)])}}
    measure = with_quantised(classification, "int8", {"int8_megabytes": 0.5})
    on_the_way = measure(collected({"val": networks}), "val", False)
    assert {k: v.tolist() for k, v in on_the_way.items()} == {
        "accuracy": [75, 50], "int8_accuracy": [100, 50], "int8_agreement": [75, 100],
    }  # fmt: skip
    assert measure(collected({"val": networks}), "val", True)["int8_megabytes"].tolist() == [0.5, 0.5]


def test_networks_that_answer_together_have_the_accuracy_of_their_mean():
    """The surer one decides unless its weight is small."""
    networks = {"network": {"logits": np.stack([right(9), right(3, scale=7.0)])}}
    for weights, wanted in (([1, 1], 25), ([2, 1], 75)):
        measure = classification_together({"nets": [{}, {}], "weights": weights})
        found = measure(collected({"test": networks}), "test", True)
        assert found["accuracy"].tolist() == [75, 25] and found["ensemble_accuracy"].tolist() == [wanted] * 2
        assert set(measure(collected({"test": networks}), "test", False)) == {"accuracy"}


def test_top5_where_there_are_more_than_five_classes():
    ranks = (np.arange(6) - LABELS[:, None]) % 6  # the true class has rank 0
    networks = {"network": {"logits": np.stack([(ranks + 1) % 6, ranks]).astype(np.float32)}}  # fifth of six, sixth of six
    assert classification(collected({"test": networks}), "test", True)["top5_accuracy"].tolist() == [100, 0]
    networks["network"]["logits"] = networks["network"]["logits"][..., :5]
    assert "top5_accuracy" not in classification(collected({"test": networks}), "test", True)


def test_less_than_twice_a_guess_is_near_chance():
    assert near_chance({"test_accuracy": [39.9]}, 5) and not near_chance({"test_accuracy": [40.0]}, 5)


def test_an_accuracy_of_few_rows_is_uncertain():
    np.testing.assert_allclose(sampling_error("test_accuracy", 90.0, 450), 196 * np.sqrt(0.09 / 450))
    assert sampling_error("test_accuracy", 100.0, 450) == 0 and sampling_error("test_nll", 1.0, 450) is None
