import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from kdjax.core.check import InputError
from kdjax.evaluate import alignment, effective_rank, feature_spread, feature_std, rank_me, uniformity

RANDOM = np.random.default_rng(0)
A = (RANDOM.normal(size=(30, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 2).astype(np.float32)
B = RANDOM.normal(size=(30, 6)).astype(np.float32)
UNIT_A, UNIT_B = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (A.astype(float), B.astype(float)))


def test_rank_me_equals_numpy():
    s = np.linalg.svd(A.astype(float), compute_uv=False)
    p = s / s.sum() + 1e-7
    np.testing.assert_allclose(rank_me(jnp.array(A)), np.exp(-(p * np.log(p)).sum()), rtol=1e-5)
    p = s / s.sum() + 1e-2
    np.testing.assert_allclose(rank_me(jnp.array(A), epsilon=1e-2), np.exp(-(p * np.log(p)).sum()), rtol=1e-5)


def test_the_authors_code_gives_the_same(golden):
    ranks, pairs = golden("eval/rankme"), golden("eval/align_uniform")
    np.testing.assert_allclose(rank_me(jnp.array(ranks["features"])), ranks["rankme_eps_1e7"], rtol=1e-6)
    np.testing.assert_allclose(rank_me(jnp.array(ranks["features"]), epsilon=1e-5), ranks["rankme_eps_1e5"], rtol=1e-6)
    x, y = jnp.array(pairs["x"]), jnp.array(pairs["y"])
    align, gradients = jax.value_and_grad(alignment, (0, 1))(x, y)
    np.testing.assert_allclose(align, pairs["loss_align"], rtol=1e-5)
    # The stored loss is the sum of both; uniformity is that of the first.
    even, pull = jax.value_and_grad(uniformity)(x)
    np.testing.assert_allclose(even, pairs["loss"] - pairs["loss_align"], rtol=1e-5)
    np.testing.assert_allclose(gradients[0] + pull, pairs["grad_x"], atol=1e-5)
    np.testing.assert_allclose(gradients[1], pairs["grad_y"], atol=1e-5)


def test_rank_me_of_known_ranks():
    for rank in (1, 3, 6):
        np.testing.assert_allclose(rank_me(jnp.eye(8, 6) * (jnp.arange(6) < rank)[None]), rank, rtol=1e-4)


def test_effective_rank_equals_numpy():
    eigenvalues = np.linalg.eigvalsh(np.cov(A.astype(float).T))
    np.testing.assert_allclose(effective_rank(jnp.array(A)), np.exp(entropy(eigenvalues)), rtol=1e-5)
    np.testing.assert_allclose(effective_rank(jnp.array(1e-8 * A)), effective_rank(jnp.array(A)), rtol=1e-4)


def test_collapse_is_seen():
    same = jnp.broadcast_to(jnp.array(A[:1]), (30, 6))
    np.testing.assert_allclose(effective_rank(same), 1.0, atol=1e-5)
    np.testing.assert_allclose(rank_me(same), 1.0, atol=1e-3)
    np.testing.assert_allclose(feature_std(same), 0.0, atol=1e-6)
    np.testing.assert_allclose(uniformity(same), 0.0, atol=1e-5)
    for measure in (effective_rank, rank_me, feature_std, uniformity):
        assert jnp.isfinite(measure(jnp.zeros((4, 3))))


def test_feature_std_equals_numpy():
    np.testing.assert_allclose(feature_std(jnp.array(A)), UNIT_A.std(axis=0).mean(), rtol=1e-5)
    random = jnp.array(RANDOM.normal(size=(4000, 64)).astype(np.float32))
    np.testing.assert_allclose(feature_std(random), 1 / 8, rtol=1e-2)
    np.testing.assert_allclose(feature_spread(jnp.array(A)), UNIT_A.std(axis=0).mean() * np.sqrt(6), rtol=1e-5)


def test_alignment_and_uniformity_equal_numpy():
    np.testing.assert_allclose(alignment(jnp.array(A), jnp.array(B)), ((UNIT_A - UNIT_B) ** 2).sum(1).mean(), rtol=1e-5)
    expected = np.log(np.exp(-2 * pdist(UNIT_B, "sqeuclidean")).mean())
    np.testing.assert_allclose(uniformity(jnp.array(B)), expected, rtol=1e-4)


def test_refusals():
    with pytest.raises(InputError, match="rows=1"):
        uniformity(jnp.ones((1, 3)))
    with pytest.raises(InputError, match="has shape"):
        alignment(jnp.array(A), jnp.array(B[:5]))
    for measure in (rank_me, effective_rank, feature_std, uniformity):
        with pytest.raises(InputError, match="has shape"):
            measure(jnp.ones(3))
