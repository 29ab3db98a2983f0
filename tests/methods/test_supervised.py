import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import close, equal, start, supervised
from tiny_nets import CLASSES, LABELS, without_batch_norm

from kdjax import methods
from kdjax.core import InputError, from_linen

KEY = jax.random.key(5)
NET = without_batch_norm()


def log_softmax(z):
    z = np.asarray(z, np.float64)
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


def run(batch, **options):
    """One step of SGD at rate 0.5: the State before and after it, its metrics, the outputs before it."""
    case = supervised(net=NET, **options)
    state = start(case)
    new, metrics = jax.jit(case.method.step)(state, case.batch | batch, KEY)
    taps, _ = NET.apply(state.learner.params["student"], {}, case.batch["image"], train=True)
    return state.learner.params["student"], new.learner.params["student"], metrics, taps


def check(batch, target, **options):
    """The loss and the step of the last layer, for a target distribution a row; a row of zeros does not count."""
    before, after, metrics, taps = run(batch, **options)
    counted = target.sum(-1) > 0
    loss = -(target * log_softmax(taps["logits"])).sum() / counted.sum()
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["cross_entropy"], loss, rtol=1e-5)
    slope = (np.exp(log_softmax(taps["logits"])) - target) * counted[:, None] / counted.sum()
    np.testing.assert_allclose(before["b"] - after["b"], 0.5 * np.asarray(taps["pooled"]).T @ slope, atol=1e-6)


ONE_HOT = np.eye(CLASSES)[np.asarray(LABELS)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothed_labels(smoothing):
    check({}, (1 - smoothing) * ONE_HOT + smoothing / CLASSES, smoothing=smoothing)


def test_labels_that_are_distributions():
    mixed = 0.7 * ONE_HOT + 0.3 * ONE_HOT[::-1]
    check({"label": jnp.float32(mixed)}, 0.8 * mixed + 0.2 / CLASSES, smoothing=0.2)


def test_unlabelled_rows_do_not_count():
    known = np.arange(16) % 5 == 0
    check({"label": jnp.where(known, LABELS, -1)}, ONE_HOT * known[:, None])


def test_a_batch_without_labels_changes_nothing():
    before, after, metrics, _ = run({"label": jnp.full(16, -1)})
    assert equal(before, after) and metrics["loss"] == 0


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(CLASSES)(x)


def test_the_key_of_a_step_drops_units_in_training_only():
    case = supervised(net=from_linen(Dropped()))
    state, step = start(case), jax.jit(case.method.step)
    a, b, c = (step(state, case.batch, jax.random.key(k))[0] for k in (1, 1, 2))
    close(a, b)
    assert not equal(a, c)
    logits = case.method.predict(state, case.batch["image"])["network"]["logits"]
    kernel = state.learner.params["student"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(logits, case.batch["image"].reshape(16, -1) @ kernel, atol=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, "a lot"])
def test_a_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(InputError, match=r"^smoothing=.* from 0 to below 1$"):
        methods.supervised(NET, None, smoothing=smoothing)  # pyright: ignore
