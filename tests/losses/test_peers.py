import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, softmax, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
LOGITS, LABELS = (RNG.normal(size=(3, 5, 4)) * 2).astype(np.float32), np.array([0, 3, 1, 1, 2])
QUERIES, KEYS = RNG.normal(size=(2, 3, 5, 6)).astype(np.float32)


def attention(q, k):
    return softmax(np.einsum("pbe,qbe->bpq", np.float64(q), np.float64(k)))


def test_min_logit_oracle():
    expected = np.array([[min(z[b, k] - z[b, LABELS[b]] for z in np.float64(LOGITS)) for k in range(4)] for b in range(5)])
    np.testing.assert_allclose(losses.min_logit(LOGITS, LABELS), expected, rtol=1e-5, atol=1e-6)
    assert not jax.grad(lambda z: jnp.sum(losses.min_logit(z, LABELS)))(LOGITS).any()


def test_min_logit_of_equal_peers_is_their_prediction():
    same = np.stack([LOGITS[0]] * 3)
    np.testing.assert_allclose(jax.nn.softmax(losses.min_logit(same, LABELS)), softmax(LOGITS[0]), atol=1e-6)


def test_min_logit_gives_the_label_the_most_that_any_peer_does():
    target = softmax(losses.min_logit(LOGITS, LABELS))[np.arange(5), LABELS]
    assert np.all(target >= softmax(LOGITS)[:, np.arange(5), LABELS].max(0) - 1e-6)


def test_a_number_that_is_no_class_shows():
    assert np.isnan(losses.min_logit(LOGITS, jnp.array([-1, 4, 0, 0, 0]))).all(1).tolist() == [True, True, False, False, False]


def test_peer_attention_oracle():
    cotangent = RNG.normal(size=(5, 3, 3)).astype(np.float32)
    same_value(losses.peer_attention(QUERIES, KEYS), attention(QUERIES, KEYS), 2e-5)
    both = value_and_grad(lambda q, k: jnp.sum(cotangent * losses.peer_attention(q, k)), argnums=(0, 1))
    _, gradients = both(QUERIES, KEYS)
    same_gradient(gradients[0], differences(lambda q: (cotangent * attention(q, KEYS)).sum(), QUERIES))
    same_gradient(gradients[1], differences(lambda k: (cotangent * attention(QUERIES, k)).sum(), KEYS))


def test_extreme_inputs():
    value, gradient = value_and_grad(lambda q: jnp.sum(losses.peer_attention(q, q)))(1e4 * QUERIES)
    same_value(value, np.float64(15.0))
    assert jnp.isfinite(gradient).all()
    assert jnp.isfinite(losses.min_logit(1e4 * LOGITS, LABELS)).all()


def test_bfloat16():
    bfloat16_reduces_in_float32(losses.peer_attention, QUERIES, KEYS)
    bfloat16_reduces_in_float32(lambda z: losses.min_logit(z, LABELS), LOGITS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.min_logit(LOGITS[0], LABELS), ["logits", "(5, 4)", "[P, B, K]"]),
        (lambda: losses.min_logit(LOGITS, LABELS[:2]), ["labels", "(2,)"]),
        (lambda: losses.min_logit(LOGITS, LABELS * 1.0), ["labels", "integer"]),
        (lambda: losses.peer_attention(QUERIES, KEYS[:2]), ["keys", "(2, 5, 6)", "queries"]),
        (lambda: losses.peer_attention(QUERIES[0], KEYS[0]), ["queries", "[P, B, E]"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
