import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import bfloat16_reduces_in_float32, differences, log_softmax, refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(4)
LOGITS, LABELS = (RNG.normal(size=(5, 4)) * 2).astype(np.float32), np.array([0, 3, 1, 1, 2])
EXTREME = np.float32([[1e4, 0, -1e4], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-3]])


def focal(z, y=LABELS, gamma=2.0):
    log_p = log_softmax(z)[np.arange(len(y)), y]
    return -((1 - np.exp(log_p)) ** gamma) * log_p


def cyclical(z, y=LABELS, easy=0.3, gamma_easy=3.0, gamma_pos=2.0, gamma_neg=2.0, smoothing=0.1):
    log_p, hit = log_softmax(z), np.eye(z.shape[1])[y]
    p = np.exp(log_p)
    hard = np.where(hit, (1 - p) ** gamma_pos, p**gamma_neg)
    well = np.where(hit, (1 + p) ** gamma_easy, 1.0)
    q = (1 - smoothing) * hit + smoothing / z.shape[1]
    return -(q * (easy * well + (1 - easy) * hard) * log_p).sum(-1)


def test_focal_golden(golden):
    g = golden("self_kd_lib/focal")
    value, gradient = value_and_grad(lambda z: jnp.mean(losses.focal(z, g["labels"], gamma=g["hp_gamma"])))(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


@pytest.mark.parametrize("name", ["asl_focal", "cyclical_early", "cyclical_late", "modified"])
def test_cyclical_golden(golden, name):
    g = golden(f"cfl/{name}")
    if name == "asl_focal":
        options = {"easy": 0.0, "gamma_pos": g["hp_gamma"], "gamma_neg": g["hp_gamma"]}
    else:
        named = {"easy": "eta", "gamma_easy": "gamma_hc", "gamma_pos": "gamma_pos", "gamma_neg": "gamma_neg"}
        options = {ours: g[f"hp_{theirs}"] for ours, theirs in named.items()}
    loss = lambda z: jnp.mean(losses.cyclical_focal(z, g["labels"], smoothing=g["hp_epsilon"], **options))  # noqa: E731
    value, gradient = value_and_grad(loss)(g["logits_s"])
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_logits_s"])


@pytest.mark.parametrize("gamma", [0, 0.5, 2.0, 5])
def test_focal_oracle(gamma):
    same_value(losses.focal(LOGITS, LABELS, gamma=gamma), focal(LOGITS, gamma=gamma), 2e-5)
    _, gradient = value_and_grad(lambda z: jnp.sum(losses.focal(z, LABELS, gamma=gamma)))(LOGITS)
    same_gradient(gradient, differences(lambda z: focal(z, gamma=gamma).sum(), LOGITS))


@pytest.mark.parametrize("options", [{}, {"easy": 1, "gamma_easy": 0.5}, {"easy": 0.0, "gamma_pos": 0.5, "gamma_neg": 0}])
def test_cyclical_oracle(options):
    options = {"easy": 0.3} | options
    same_value(losses.cyclical_focal(LOGITS, LABELS, **options), cyclical(LOGITS, **options), 2e-5)
    _, gradient = value_and_grad(lambda z: jnp.sum(losses.cyclical_focal(z, LABELS, **options)))(LOGITS)
    same_gradient(gradient, differences(lambda z: cyclical(z, **options).sum(), LOGITS))


def test_without_exponents_both_are_the_cross_entropy():
    plain = np.float64(losses.cross_entropy(LOGITS, LABELS, smoothing=0.1))
    zero = {"gamma_easy": 0.0, "gamma_pos": 0.0, "gamma_neg": 0.0}
    same_value(losses.cyclical_focal(LOGITS, LABELS, easy=0.4, smoothing=0.1, **zero), plain)
    same_value(losses.focal(LOGITS, LABELS, gamma=0), np.float64(losses.cross_entropy(LOGITS, LABELS)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits(gamma):
    labels = np.array([2, 0, 1, 2])
    value, gradient = value_and_grad(lambda z: jnp.sum(losses.focal(z, labels, gamma=gamma)))(EXTREME)
    same_value(value, focal(EXTREME, labels, gamma).sum())
    assert jnp.isfinite(gradient).all()
    options = {"easy": 0.5, "gamma_easy": gamma, "gamma_pos": gamma, "gamma_neg": gamma}
    value, gradient = value_and_grad(lambda z: jnp.sum(losses.cyclical_focal(z, labels, **options)))(EXTREME)
    same_value(value, cyclical(EXTREME, labels, **options).sum())
    assert jnp.isfinite(gradient).all()
    sure = np.array([0, 2, 1, 2])  # predicted without a doubt
    for loss in (lambda z: losses.focal(z, sure, gamma=gamma), lambda z: losses.cyclical_focal(z, sure, **options)):
        assert jnp.isfinite(value_and_grad(lambda z, loss=loss: jnp.sum(loss(z)))(EXTREME)[1]).all()


def test_a_number_that_is_no_class_shows():
    labels = jnp.array([-1, 4, 0, 0, 0])
    for rows in (losses.focal(LOGITS, labels), losses.cyclical_focal(LOGITS, labels, easy=0.5)):
        assert np.isnan(rows).tolist() == [True, True, False, False, False]


def test_options_under_vmap():
    swept = jax.vmap(lambda g: losses.focal(LOGITS, LABELS, gamma=g))(jnp.array([0.0, 2.0]))
    same_value(swept, np.stack([focal(LOGITS, gamma=g) for g in (0, 2)]), 2e-5)
    swept = jax.vmap(lambda e: losses.cyclical_focal(LOGITS, LABELS, easy=e))(jnp.array([0.0, 1.0]))
    same_value(swept, np.stack([cyclical(LOGITS, easy=e) for e in (0, 1)]), 2e-5)


def test_bfloat16():
    bfloat16_reduces_in_float32(lambda z: losses.focal(z, LABELS), LOGITS)
    bfloat16_reduces_in_float32(lambda z: losses.cyclical_focal(z, LABELS, easy=0.5), LOGITS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.focal(LOGITS, LABELS[:2]), ["labels", "logits"]),
        (lambda: losses.focal(LOGITS, LABELS * 1.0), ["labels", "integer"]),
        (lambda: losses.focal(LOGITS, LABELS, gamma=-1), ["gamma=-1", "at least 0"]),
        (lambda: losses.cyclical_focal(LOGITS, LABELS, easy=1.5), ["easy=1.5", "[0, 1]"]),
        (lambda: losses.cyclical_focal(LOGITS, LABELS, easy=0.5, smoothing=-0.1), ["smoothing=-0.1", "[0, 1]"]),
        (lambda: losses.cyclical_focal(LOGITS, LABELS, easy=0.5, gamma_neg=np.inf), ["gamma_neg=inf", "at least 0"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
