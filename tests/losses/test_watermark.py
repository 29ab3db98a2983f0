import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, softmax, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
LOGITS, LABELS = (RNG.normal(size=(6, 5)) * 2).astype(np.float32), np.array([0, 4, 3, 1, 2, 2])
EXTREME = np.float32([[1e4, 0, -1e4, 5, 5], [-1e4, -1e4, 1e4, 0, 1], [1e4] * 5, [0, 0, 1e-3, 0, 0]])


def key_of(seed):
    key, rng = np.zeros((5, 5), np.float32), np.random.default_rng(seed)
    for c in range(5):
        key[c, np.arange(5) != c] = rng.dirichlet(np.full(4, 0.3))
    return key


KEY = key_of(0)


def score(z, key=KEY):
    found = []
    for row in softmax(z):
        c = row.argmax()
        a, b = (np.log(np.delete(np.float64(x), c) + 1e-8) for x in (row, key[c]))
        a, b = a - a.mean(), b - b.mean()
        found.append(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    return np.array(found)


@pytest.mark.parametrize("epsilon", [0, 0.2, 0.49])
def test_keyed_labels(epsilon):
    found = losses.keyed_labels(LABELS, KEY, epsilon=epsilon)
    np.testing.assert_allclose(found, (1 - epsilon) * np.eye(5)[LABELS] + epsilon * KEY[LABELS], rtol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert (found.argmax(1) == LABELS).all()


def test_without_a_share_the_labels_are_plain():
    marked = losses.cross_entropy(LOGITS, losses.keyed_labels(LABELS, KEY, epsilon=0.0))
    same_value(marked, np.float64(losses.cross_entropy(LOGITS, LABELS)))


def test_a_number_that_is_no_class_shows():
    rows = losses.keyed_labels(jnp.array([-1, 5, 0]), KEY, epsilon=0.2)
    assert np.isnan(rows).any(1).tolist() == [True, True, False]


def test_score_oracle():
    same_value(losses.watermark_score(LOGITS, KEY), score(LOGITS), 1e-4)
    _, gradient = value_and_grad(lambda z: jnp.sum(losses.watermark_score(z, KEY)))(LOGITS)
    same_gradient(gradient, differences(lambda z: score(z).sum(), LOGITS), 1e-3)


def test_who_learnt_the_labels_has_the_full_score_and_others_none():
    labels = np.arange(5).repeat(2)
    learnt = jnp.log(losses.keyed_labels(labels, KEY, epsilon=0.2) + 1e-6)
    assert losses.watermark_score(learnt, KEY).min() > 0.9
    others = np.array([jnp.mean(losses.watermark_score(learnt, key_of(k))) for k in range(1, 40)])
    assert abs(others.mean()) < 0.1 and others.max() < 0.9


def test_extreme_logits():
    value, gradient = value_and_grad(lambda z: jnp.sum(losses.watermark_score(z, KEY)))(EXTREME)
    same_value(value, score(EXTREME).sum(), 1e-4)
    assert jnp.isfinite(gradient).all()
    flat = losses.watermark_score(np.float32([[3, 0, 0, 0, 0]]), KEY)
    assert flat[0] == 0
    with_zeros = np.eye(5, dtype=np.float32)[[1, 2, 3, 4, 0]]
    assert jnp.isfinite(losses.watermark_score(LOGITS, with_zeros)).all()


def test_epsilon_under_vmap():
    swept = jax.vmap(lambda e: losses.keyed_labels(LABELS, KEY, epsilon=e))(jnp.array([0.0, 0.3]))
    same_value(swept[1], np.float64(losses.keyed_labels(LABELS, KEY, epsilon=0.3)))


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda z: losses.watermark_score(z, KEY), LOGITS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.keyed_labels(LABELS, KEY[:4], epsilon=0.1), ["key has shape (4, 5)", "[K, K]"]),
        (lambda: losses.keyed_labels(LABELS * 1.0, KEY, epsilon=0.1), ["labels", "integer"]),
        (lambda: losses.keyed_labels(LABELS, KEY, epsilon=0.5), ["epsilon=0.5", "[0, 0.5)"]),
        (lambda: losses.watermark_score(LOGITS[:, :4], KEY), ["logits has shape (6, 4)", "key has shape (5, 5)"]),
        (lambda: losses.watermark_score(LOGITS[:, :2], KEY[:2, :2]), ["(6, 2)", "at least 3"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
