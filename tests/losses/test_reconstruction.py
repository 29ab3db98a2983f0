import jax
import jax.numpy as jnp
import numpy as np
from oracle import bfloat16_reduces_in_float32, refused, same_gradient, same_value, value_and_grad

from kdjax.losses import reconstruction

RNG = np.random.default_rng(3)
STUDENT, TEACHER = (RNG.normal(size=(3, 4, 5, 2)).astype(np.float32) for _ in range(2))


def test_oracle():
    same_value(reconstruction(STUDENT, TEACHER), np.abs(np.float64(STUDENT) - TEACHER).mean((1, 2, 3)))
    _, gradient = value_and_grad(lambda s: jnp.sum(reconstruction(s, TEACHER)))(STUDENT)
    same_gradient(gradient, np.sign(STUDENT - TEACHER) / 40)


def test_equal_images_and_the_teacher_are_not_pushed():
    value, gradient = value_and_grad(lambda s: jnp.sum(reconstruction(s, TEACHER)))(TEACHER)
    assert value == 0 and not np.any(gradient)
    assert not np.any(jax.grad(lambda t: jnp.sum(reconstruction(STUDENT, t)))(TEACHER))


def test_bfloat16_sums_in_float32():
    bfloat16_reduces_in_float32(reconstruction, STUDENT, TEACHER)


def test_refusals():
    refused(lambda: reconstruction(STUDENT, TEACHER[:, :3]), ["teacher", "student"])
