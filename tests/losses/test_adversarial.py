"""The games of generators and critics, against a public implementation and NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(9)
REAL, FAKE = (2 * RNG.normal(size=(2, 5, 3, 3, 1))).astype(np.float32)
GAMES = {"non_saturating": "vanilla", "hinge": "hinge", "least_squares": "lsgan", "wasserstein": "wgangp"}  # as the peer has them


def soft(x):
    return np.logaddexp(0, np.float64(x))


ORACLE = {  # of one side's scores: real ones for the critic, made ones for the critic, made ones for the generator
    "non_saturating": (lambda r: soft(-r), soft, lambda f: soft(-f)),
    "hinge": (lambda r: np.maximum(1 - np.float64(r), 0), lambda f: np.maximum(1 + np.float64(f), 0), lambda f: -np.float64(f)),
    "least_squares": (lambda r: (np.float64(r) - 1) ** 2, lambda f: np.float64(f) ** 2, lambda f: (np.float64(f) - 1) ** 2),
    "wasserstein": (lambda r: -np.float64(r), np.float64, lambda f: -np.float64(f)),
}


def per_image(x):
    return x.reshape(len(x), -1).mean(1)


@pytest.mark.parametrize("kind", GAMES)
def test_golden(golden, kind):
    g = golden("dcd_gan/gan_loss")
    name = GAMES[kind]
    same_value(jnp.mean(losses.gan_generator(g["pred"], kind=kind)), g[f"loss_{name}_generator"])
    # The peer has the two sides apart; here they are added.
    both = g[f"loss_{name}_real"] + g[f"loss_{name}_fake"]
    value = jnp.mean(losses.gan_critic(g["pred"], g["pred"], kind=kind))
    np.testing.assert_allclose(value, both, rtol=1e-5, atol=1e-6)


def test_golden_gradient(golden):
    """The peer's gradient is that of the hinge of real scores, the squares of made ones and the logistic of real ones."""
    g = golden("dcd_gan/gan_loss")
    far = {"hinge": -1e3, "least_squares": 1.0, "non_saturating": -1e3}  # scores of the other side, which lose nothing

    def total(x):
        other = jnp.ones_like(x)
        hinge = losses.gan_critic(x, far["hinge"] * other, kind="hinge")
        squares = losses.gan_critic(far["least_squares"] * other, x, kind="least_squares")
        logistic = losses.gan_critic(x, far["non_saturating"] * other, kind="non_saturating")
        return jnp.mean(hinge + squares + logistic)

    value, gradient = value_and_grad(total)(g["pred"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_pred"])


@pytest.mark.parametrize("scores", [(REAL, FAKE), (REAL[:, 0, 0, 0], FAKE[:, 0, 0, 0])], ids=["patches", "images"])
@pytest.mark.parametrize("kind", GAMES)
def test_oracle(kind, scores):
    real, fake = scores
    of_real, of_fake, of_generator = ORACLE[kind]
    critic = value_and_grad(lambda r, f: (jnp.sum(each := losses.gan_critic(r, f, kind=kind)), each), argnums=(0, 1), has_aux=True)
    (_, each), gradients = critic(real, fake)
    np.testing.assert_allclose(each, per_image(of_real(real) + of_fake(fake)), rtol=1e-5, atol=1e-6)
    same_gradient(gradients[0], differences(lambda r: per_image(of_real(r)).sum(), real))
    same_gradient(gradients[1], differences(lambda f: per_image(of_fake(f)).sum(), fake))
    (_, each), gradient = value_and_grad(lambda f: (jnp.sum(each := losses.gan_generator(f, kind=kind)), each), has_aux=True)(fake)
    np.testing.assert_allclose(each, per_image(of_generator(fake)), rtol=1e-5, atol=1e-6)
    same_gradient(gradient, differences(lambda f: per_image(of_generator(f)).sum(), fake))


@pytest.mark.parametrize("kind", GAMES)
def test_extreme_scores(kind):
    x = np.float32([-1e4, 0, 1e4])
    of_real, of_fake, of_generator = ORACLE[kind]
    value, gradients = value_and_grad(lambda r, f: jnp.sum(losses.gan_critic(r, f, kind=kind)), argnums=(0, 1))(x, x[::-1])
    same_value(value, (of_real(x) + of_fake(x[::-1])).sum())
    assert all(jnp.isfinite(g).all() for g in gradients)
    same_value(losses.gan_generator(x, kind=kind), of_generator(x), 1e-4)


def test_a_critic_that_cannot_tell():
    assert losses.gan_critic(jnp.zeros(2), jnp.zeros(2), kind="non_saturating").tolist() == pytest.approx([2 * np.log(2)] * 2)
    assert losses.gan_critic(jnp.ones(2), -jnp.ones(2), kind="hinge").tolist() == [0, 0]
    assert not jax.grad(lambda f: losses.gan_generator(f, kind="least_squares")[0])(jnp.ones(1)).any()


@pytest.mark.parametrize("kind", GAMES)
def test_bfloat16(kind):
    bfloat16_reduces_in_float32(lambda r, f: losses.gan_critic(r, f, kind=kind), REAL, FAKE)
    bfloat16_reduces_in_float32(lambda f: losses.gan_generator(f, kind=kind), FAKE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.gan_generator(1.0, kind="hinge"), ["fake_scores", "()"]),
        (lambda: losses.gan_generator(REAL, kind="vanilla"), ["kind='vanilla'", "'non_saturating'", "'wasserstein'"]),
        (lambda: losses.gan_critic(REAL, FAKE[:2], kind="hinge"), ["fake_scores", "(2, 3, 3, 1)", "real_scores"]),
        (lambda: losses.gan_critic(REAL, FAKE, kind="lsgan"), ["kind='lsgan'", "'least_squares'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
