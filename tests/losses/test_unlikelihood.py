import jax.numpy as jnp
import numpy as np
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, softmax, value_and_grad

from kdjax.losses import unlikelihood

RNG = np.random.default_rng(5)
LOGITS, LABELS = RNG.normal(size=(4, 3)).astype(np.float32) * 2, np.array([0, 2, 1, 1])


def oracle(logits, floor=1e-8):
    return -np.log(1 - softmax(logits)[np.arange(len(LABELS)), LABELS] + floor)


def test_oracle():
    same_value(unlikelihood(LOGITS, LABELS), oracle(LOGITS))
    same_value(unlikelihood(LOGITS, LABELS, floor=0.5), oracle(LOGITS, 0.5))
    _, gradient = value_and_grad(lambda z: jnp.sum(unlikelihood(z, LABELS)))(LOGITS)
    same_gradient(gradient, differences(lambda z: oracle(z).sum(), LOGITS))


def test_sure_predictions_keep_their_digits():
    """At p near 1, where 1 - p in float32 is 0, value and slope are still there; beyond it the floor bounds them."""
    sure = jnp.array([[16.0, 0.0, 0.0]])
    value, gradient = value_and_grad(lambda z: jnp.sum(unlikelihood(z, jnp.array([0]))))(sure)
    exact = -np.log(2 * np.exp(-16.0) / (1 + 2 * np.exp(-16.0)) + 1e-8)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    assert 0.9 < gradient[0, 0] < 1
    value, gradient = value_and_grad(lambda z: jnp.sum(unlikelihood(z, jnp.array([0, 1]))))(jnp.array([[1e4, 0], [1e4, -1e4]]))
    np.testing.assert_allclose(value, -np.log(1e-8), rtol=1e-6)
    assert np.all(np.isfinite(gradient))


def test_bfloat16_sums_in_float32():
    bfloat16_reduces_in_float32(lambda z: unlikelihood(z, LABELS), LOGITS)


def test_labels_that_are_none_are_not_a_number():
    assert np.isnan(unlikelihood(LOGITS, np.array([-1, 3, 0, 0]))).tolist() == [True, True, False, False]


def test_refusals():
    refused(lambda: unlikelihood(LOGITS, LABELS[:2]), ["labels", "logits"])
    refused(lambda: unlikelihood(LOGITS, LABELS / 2), ["labels", "integer"])
    refused(lambda: unlikelihood(LOGITS, LABELS, floor=0.0), ["floor=0.0"])
