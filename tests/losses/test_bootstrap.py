import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(1)
PREDICTION, TARGET = RNG.normal(size=(2, 5, 6)).astype(np.float32)


def two_minus_two_cosines(p, z):
    p, z = np.float64(p), np.float64(z)
    return 2 - 2 * (p * z).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(z, axis=-1)


@pytest.mark.parametrize("name", ["byol_deepmind/regression_loss", "solo_learn/byol"])
def test_byol_golden(golden, name):
    g = golden(name)
    rows = losses.byol(g["p"], g["z"])
    same_value(rows if g["loss"].ndim else jnp.mean(rows), g["loss"])
    same_gradient(jax.grad(lambda p: jnp.mean(losses.byol(p, g["z"])))(g["p"]), g["grad_p"])


def test_byol_oracle():
    same_value(losses.byol(PREDICTION, TARGET), two_minus_two_cosines(PREDICTION, TARGET))
    gradient = jax.grad(lambda p: jnp.sum(losses.byol(p, TARGET)))(PREDICTION)
    same_gradient(gradient, differences(lambda p: two_minus_two_cosines(p, TARGET).sum(), PREDICTION))


def test_byol_stops_at_the_target():
    assert not jax.grad(lambda z: jnp.sum(losses.byol(PREDICTION, z)))(TARGET).any()


def test_byol_equal_zero_and_extreme_rows():
    both = value_and_grad(lambda p, z: jnp.sum(losses.byol(p, z)))
    value, gradient = both(PREDICTION, PREDICTION)
    assert 0 <= value < 1e-12
    assert jnp.max(jnp.abs(gradient)) < 1e-6
    zero = np.zeros_like(PREDICTION)
    for p, z in ((zero, TARGET), (PREDICTION, zero), (zero, zero), (PREDICTION * 1e4, TARGET * 1e-4)):
        value, gradient = both(p, z)
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))
    same_value(losses.byol(PREDICTION * 1e4, TARGET), two_minus_two_cosines(PREDICTION, TARGET))


def test_byol_bfloat16():
    bfloat16_reduces_in_float32(losses.byol, PREDICTION, TARGET)


def minus_cosine(p, z):
    return two_minus_two_cosines(p, z) / 2 - 1


def test_simsiam_golden(golden):
    g = golden("solo_learn/simsiam")
    value, gradient = value_and_grad(lambda p: jnp.mean(losses.simsiam(p, g["z"])))(g["p"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_p"])


def test_simsiam_oracle():
    same_value(losses.simsiam(PREDICTION, TARGET), minus_cosine(PREDICTION, TARGET))
    gradient = jax.grad(lambda p: jnp.sum(losses.simsiam(p, TARGET)))(PREDICTION)
    same_gradient(gradient, differences(lambda p: minus_cosine(p, TARGET).sum(), PREDICTION))


def test_simsiam_stops_at_the_target():
    assert not jax.grad(lambda z: jnp.sum(losses.simsiam(PREDICTION, z)))(TARGET).any()


def test_simsiam_equal_zero_and_extreme_rows():
    both = value_and_grad(lambda p, z: jnp.sum(losses.simsiam(p, z)))
    value, gradient = both(PREDICTION, PREDICTION)
    same_value(value, np.float64(-5))
    assert jnp.max(jnp.abs(gradient)) < 1e-6
    zero = np.zeros_like(PREDICTION)
    for p, z in ((zero, TARGET), (PREDICTION, zero), (zero, zero)):
        value, gradient = both(p, z)
        assert value == 0 and not gradient.any()
    for scale in (1e-8, 1e4, 1e25):
        value, gradient = both(PREDICTION * np.float32(scale), TARGET * np.float32(scale))
        same_value(value, minus_cosine(PREDICTION, TARGET).sum())
        same_gradient(gradient * np.float64(scale), differences(lambda p: minus_cosine(p, TARGET).sum(), PREDICTION))


def test_simsiam_bfloat16():
    bfloat16_reduces_in_float32(losses.simsiam, PREDICTION, TARGET)


@pytest.mark.parametrize("loss", [losses.byol, losses.simsiam])
@pytest.mark.parametrize(
    ("p", "z", "words"),
    [
        (PREDICTION[0], TARGET, ["prediction", "(6,)", "[B, D]"]),
        (PREDICTION, TARGET[:, :4], ["target", "(5, 4)", "prediction", "(5, 6)"]),
    ],
)
def test_shapes_are_refused_in_one_line(loss, p, z, words):
    refused(lambda: loss(p, z), words)
