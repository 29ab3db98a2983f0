"""Comparisons and NumPy float64 pieces that the tests of losses share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError


def value_and_grad(loss, **options):
    """`jax.value_and_grad`, compiled: one program is quicker to compile than its operations one by one."""
    return jax.jit(jax.value_and_grad(loss, **options))


def same_value(actual, expected, relative=1e-5):
    """Equal shapes, and values equal to `relative` of each entry."""
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=relative, atol=1e-30)


def same_gradient(actual, expected, relative=1e-4):
    """Equal shapes, and entries equal to `relative` of the largest one."""
    assert np.shape(actual) == np.shape(expected)
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=0, atol=relative * largest)


def halves_equal_whole(loss, x):
    """A scalar loss of a batch is the same, in value and gradient, when two devices hold half of the rows each."""
    halves = x.reshape(2, x.shape[0] // 2, *x.shape[1:])

    def split(halves):
        both = jax.vmap(lambda half: loss(half, axis_name="data"), axis_name="data")(halves)
        assert both.shape == (2,)
        return jnp.mean(both), both

    (_, both), gradient = value_and_grad(split, has_aux=True)(halves)
    value, expected = value_and_grad(lambda x: loss(x, axis_name=None))(x)
    same_value(both, np.full(2, value, np.float64), 1e-6)
    same_gradient(gradient.reshape(x.shape), np.asarray(expected, np.float64), 1e-5)


def bfloat16_reduces_in_float32(loss, *arrays):
    """Under bfloat16 inputs the value is the float32 one of the same numbers, and the gradient finite."""
    low = [jnp.asarray(a, jnp.bfloat16) for a in arrays]
    loss = jax.jit(loss)
    value = loss(*low)
    assert value.dtype == jnp.float32
    same_value(value, np.asarray(loss(*(a.astype(jnp.float32) for a in low)), np.float64), 1e-6)
    _, gradient = value_and_grad(lambda x: jnp.sum(loss(x, *low[1:])))(low[0])
    assert gradient.dtype == jnp.bfloat16
    assert jnp.all(jnp.isfinite(gradient))


def log_softmax(z):
    """In float64, rows last."""
    z = np.asarray(z, np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def softmax(z):
    """In float64, rows last."""
    return np.exp(log_softmax(z))


def differences(loss, x, step=1e-6):
    """The gradient of a float64 NumPy function by central differences."""
    x = np.asarray(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (loss(up) - loss(down)) / (2 * step)
    return gradient


def refused(call, words):
    """Whether a call is refused by one line that holds all these words."""
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
