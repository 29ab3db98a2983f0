"""How well scores part known images from foreign ones."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from kdjax.core import InputError
from kdjax.evaluate import auroc, false_positive_rate, max_probability, odin

RNG = np.random.default_rng(0)
OWN, FOREIGN = RNG.normal(1.0, 1.0, 300).round(1), RNG.normal(0.0, 1.0, 170).round(1)  # with many ties
TRUTH, SCORES = np.r_[np.ones(300), np.zeros(170)], np.r_[OWN, FOREIGN]


def test_area_is_that_of_scikit_learn():
    assert auroc(OWN, FOREIGN) == pytest.approx(roc_auc_score(TRUTH, SCORES), abs=1e-12)
    assert auroc(FOREIGN, OWN) == pytest.approx(1 - auroc(OWN, FOREIGN))
    assert auroc([1.0, 2.0], [0.0]) == 1.0 and auroc(OWN, OWN) == 0.5


@pytest.mark.parametrize("recall", [0.95, 0.5, 1.0])
def test_false_positives_are_those_of_the_roc_curve(recall):
    wrong, right, _ = roc_curve(TRUTH, SCORES, drop_intermediate=False)
    assert false_positive_rate(OWN, FOREIGN, recall=recall) == pytest.approx(wrong[right >= recall - 1e-12].min())


def test_scores_of_a_linear_classifier_by_hand():
    """The step of ODIN goes along the sign of `w_top - sum_k p_k w_k`."""
    kernel, x = RNG.normal(size=(5, 3)), RNG.normal(size=(7, 5))
    temperature, epsilon = 10.0, 0.05

    def softened(x):
        z = np.exp(x @ kernel / temperature)
        return z / z.sum(1, keepdims=True)

    p = softened(x)
    uphill = kernel[:, p.argmax(1)].T - p @ kernel.T
    wanted = softened(x + epsilon * np.sign(uphill)).max(1)
    images, weights = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    found = odin(lambda x: x @ weights, images, temperature=temperature, epsilon=epsilon)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(max_probability(images @ weights, temperature=temperature), p.max(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: auroc([], [1.0]), "own has scores of shape"),
        (lambda: auroc([1.0], [np.nan]), "foreign has scores"),
        (lambda: false_positive_rate([1.0], [1.0], recall=0.0), "recall=0.0"),
        (lambda: max_probability(jnp.zeros((1, 2)), temperature=0.0), "temperature=0.0"),
        (lambda: odin(lambda x: x, jnp.zeros((1, 2)), epsilon=-1.0), "epsilon=-1.0"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
