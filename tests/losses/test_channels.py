import jax
import jax.numpy as jnp
import numpy as np
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, value_and_grad

from kdjax.losses import inter_channel_correlation

RNG = np.random.default_rng(4)
STUDENT, TEACHER = (RNG.normal(size=(2, side, side, 3)).astype(np.float32) for side in (2, 3))


def correlations(f):
    rows = np.float64(f).reshape(len(f), -1, f.shape[-1])
    gram = np.stack([r.T @ r for r in rows])
    return gram / np.linalg.norm(gram, axis=2, keepdims=True)


def oracle(s, t):
    return ((correlations(s) - correlations(t)) ** 2).sum((1, 2)) / s.shape[-1]


def test_oracle():
    same_value(inter_channel_correlation(STUDENT, TEACHER), oracle(STUDENT, TEACHER))
    _, gradient = value_and_grad(lambda s: jnp.sum(inter_channel_correlation(s, TEACHER)))(STUDENT)
    same_gradient(gradient, differences(lambda s: oracle(s, TEACHER).sum(), STUDENT))


def test_equal_maps_and_dead_channels():
    assert not np.any(inter_channel_correlation(TEACHER, TEACHER))
    dead = STUDENT * np.array([1, 0, 1], np.float32)
    value, gradient = value_and_grad(lambda s: jnp.sum(inter_channel_correlation(s, TEACHER)))(dead)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    assert not np.any(jax.grad(lambda t: jnp.sum(inter_channel_correlation(STUDENT, t)))(TEACHER))


def test_scale_does_not_matter_and_large_maps_do_not_overflow():
    same_value(inter_channel_correlation(1e30 * STUDENT, 1e-30 * TEACHER), oracle(STUDENT, TEACHER), 1e-4)


def test_bfloat16_sums_in_float32():
    bfloat16_reduces_in_float32(inter_channel_correlation, STUDENT, TEACHER)


def test_refusals():
    refused(lambda: inter_channel_correlation(STUDENT, TEACHER[..., :2]), ["teacher", "student", "C"])
