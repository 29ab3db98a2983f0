import jax
import numpy as np
from cases import CASES
from own_lessons import learns_as_supervised, seen_of, total

from kdjax.methods.self_distil.confidence_penalty import confidence_penalty_objective


def test_without_weight_it_is_supervised_training():
    learns_as_supervised(CASES["confidence_penalty"](weight=0.0))


def test_it_is_least_at_a_flat_prediction():
    objective = confidence_penalty_objective(weight=0.5)
    loss = lambda z: total(objective, seen_of({"logits": z}))  # noqa: E731
    flat, sharp = np.zeros((2, 4), np.float32), np.float32(np.eye(4)[:2] * 9)
    np.testing.assert_allclose(loss(flat), -0.5 * np.log(4), rtol=1e-6)
    assert not jax.grad(loss)(flat).any() and loss(sharp) > -0.01
    assert (jax.grad(loss)(sharp)[np.arange(2), np.arange(2)] > 0).all()  # the largest logit shrinks
