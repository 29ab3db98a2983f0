import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import start, watermark
from own_lessons import KEY, learns_as_supervised
from tiny_nets import CLASSES, LABELS

from kdjax.core import InputError
from kdjax.evaluate import watermark_key


def test_without_a_share_for_the_key_it_is_supervised():
    learns_as_supervised(watermark(epsilon=0.0))
    learns_as_supervised(watermark(share=0.0))


@pytest.mark.parametrize(("epsilon", "share"), [(0.2, 0.7), (0.4, 1.0)])
def test_the_loss_is_that_of_the_docstring(epsilon, share):
    case = watermark(epsilon=epsilon, share=share)
    state = start(case)
    net = case.nets["network"]
    taps, _ = net.apply(state.learner.params["student"], state.learner.stats["student"], case.batch["image"], train=True)
    z = np.asarray(taps["logits"], np.float64)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    labels, key = np.asarray(LABELS), np.float64(watermark_key(0, CLASSES))
    s = (1 - epsilon) * np.eye(CLASSES)[labels] + epsilon * key[labels]
    entropy = -log_p[np.arange(16), labels].mean()
    divergence = np.sum(np.where(s > 0, s * (np.log(np.maximum(s, 1e-300)) - log_p), 0), -1).mean()
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    np.testing.assert_allclose(metrics["cross_entropy"], entropy, rtol=1e-4)
    np.testing.assert_allclose(metrics["marked"], divergence, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], (1 - share) * entropy + share * divergence, rtol=1e-4)


def test_rows_without_a_label_do_not_count():
    case = watermark()
    state, step = start(case), jax.jit(case.method.step)
    some = step(state, case.batch | {"label": jnp.where(jnp.arange(16) < 8, LABELS, -1)}, KEY)[1]["marked"]
    assert np.isfinite(some) and not np.allclose(some, step(state, case.batch, KEY)[1]["marked"])


def test_refusals():
    with pytest.raises(InputError, match=r"^epsilon=0.5 is not accepted: expected a number in \[0, 0.5\)"):
        watermark(epsilon=0.5)
    with pytest.raises(InputError, match=r"^share=2 is not accepted"):
        watermark(share=2)
    case = watermark(key=watermark_key(0, CLASSES + 1))
    state = jax.eval_shape(case.method.init, KEY, case.batch, {})
    with pytest.raises(InputError, match=r"^key has shape \(5, 5\): expected \(4, 4\), the classes of the network"):
        jax.eval_shape(case.method.step, state, case.batch, KEY)
