"""Images changed by the gradient of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError, jit_fast_compile
from kdjax.evaluate import fgsm, negative_log_likelihood, pgd

RNG = np.random.default_rng(0)
KERNEL, X, LABELS = RNG.normal(size=(6, 3)), RNG.uniform(size=(8, 6)), np.arange(8) % 3
IMAGES, KEY = jnp.asarray(X, jnp.float32), jax.random.key(1)


def loss(x):
    return negative_log_likelihood(x @ jnp.asarray(KERNEL, jnp.float32), jnp.asarray(LABELS))


def uphill(x):
    """The sign of the gradient `sum_k p_k w_k - w_y`, in NumPy."""
    p = np.exp(x @ KERNEL)
    return np.sign(p / p.sum(1, keepdims=True) @ KERNEL.T - KERNEL[:, LABELS].T)


def test_one_step_by_hand():
    np.testing.assert_allclose(fgsm(loss, IMAGES, epsilon=0.1), np.clip(X + 0.1 * uphill(X), 0, 1), atol=1e-6)
    np.testing.assert_array_equal(fgsm(loss, IMAGES, epsilon=0.0), IMAGES)


def test_several_steps_by_hand():
    attack = jit_fast_compile(lambda key, x: pgd(loss, x, key, epsilon=0.1, rate=0.03, steps=4))
    found = X + 0.1 * np.asarray(jax.random.uniform(KEY, X.shape, jnp.float32, -1.0, 1.0), np.float64)
    low, high = np.maximum(X - 0.1, 0), np.minimum(X + 0.1, 1)
    found = np.clip(found, low, high)
    for _ in range(4):
        found = np.clip(found + 0.03 * uphill(found), low, high)
    np.testing.assert_allclose(attack(KEY, IMAGES), found, atol=1e-5)


def test_many_steps_find_the_worst_corner_of_a_linear_loss():
    """Where the best of all images in the box is known."""
    weights = jnp.asarray(KERNEL[:, 0], jnp.float32)
    found = pgd(lambda x: x @ weights, IMAGES, KEY, epsilon=0.2, steps=9)
    np.testing.assert_allclose(found, np.clip(X + 0.2 * np.sign(KERNEL[:, 0]), 0, 1), atol=1e-6)


def test_wrong_options_are_refused():
    for attack, said in (
        (lambda: fgsm(loss, IMAGES, epsilon=-0.1), "epsilon=-0.1"),
        (lambda: pgd(loss, IMAGES, KEY, epsilon=-0.1, rate=0.1), "epsilon=-0.1"),
        (lambda: pgd(loss, IMAGES, KEY, epsilon=0.1, rate=-1.0), "rate=-1.0"),
        (lambda: pgd(loss, IMAGES, KEY, epsilon=0.1, steps=0), "steps=0"),
    ):
        with pytest.raises(InputError, match=said):
            attack()
