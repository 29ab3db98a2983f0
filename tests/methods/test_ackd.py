import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import ackd, close, equal, start, student_of, taught
from own_lessons import KEY
from tiny_nets import staged

from kdjax import methods
from kdjax.core import InputError


def log_softmax(z):
    z = np.float64(z)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def test_without_learners_it_is_kd():
    case = ackd(count=0, label_weight=0.5, weight=0.7, temperature=3.0)
    plain = taught(methods.kd, staged(), staged(None, 6), optax.sgd(0.05), label_weight=0.5, weight=0.7, temperature=3.0)
    a, b = start(case), start(plain)
    step_a, step_b = jax.jit(case.method.step), jax.jit(plain.method.step)
    for _ in range(3):
        (a, _), (b, _) = step_a(a, case.batch, KEY), step_b(b, plain.batch, KEY)
    close(student_of(a), student_of(b), atol=1e-6)


def test_terms_are_those_of_the_docstring():
    """By NumPy in float64, from what the nets give."""
    case = ackd(temperature=2.0)
    state, images = start(case), case.batch["image"]
    learner, given = state.learner, case.given["teacher"]
    params, stats = learner.params, learner.stats
    whole = {"net": params["student"], "heads": params["adapter"]["group"]}
    taps, _ = case.nets["group"].apply(whole, {"net": stats["student"], "heads": stats["adapter"]}, images, train=True)
    own, _ = case.nets["student"].apply(params["student"], stats["student"], images, train=True)
    theirs, _ = case.nets["teacher"].apply(given.params, given.stats, images, train=False)
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)

    labels, q = np.asarray(case.batch["label"]), log_softmax(theirs["logits"] / 2)
    entropy = lambda z: -log_softmax(z)[np.arange(16), labels].mean()  # noqa: E731
    divergence = lambda z, q: 4 * (np.exp(q) * (q - log_softmax(z / 2))).sum(-1).mean()  # noqa: E731
    others = [taps[name] for name in ("logits", "learner1", "learner2")]
    wanted = {
        "cross_entropy": entropy(own["logits"]),
        "distillation": divergence(own["logits"], q),
        "learners_cross_entropy": sum(map(entropy, others)),
        "learners_distillation": sum(divergence(z, q) for z in others),
        "group": divergence(own["logits"], log_softmax(taps["logits"] / 2)),
    }
    h = np.asarray(taps["learners"], np.float64)
    assert np.allclose(h[:, 0], own["pooled"], atol=1e-5) and h.shape[1] == 3
    linear = lambda x, name, of: x @ np.float64(of[name]["kernel"]) + np.float64(of[name].get("bias", 0.0))  # noqa: E731
    attention, critic = params["adapter"]["group"]["attention"], params["adapter"]["critic"]
    scores = linear(np.tanh(linear(h, "hidden", attention)), "score", attention)[..., 0]
    together = (np.exp(log_softmax(scores))[..., None] * h).sum(1)
    np.testing.assert_allclose(taps["logits"], linear(together, "classifier", attention), atol=1e-4)
    leaky = lambda x: np.where(x > 0, x, 0.2 * x)  # noqa: E731
    seen = [leaky(linear(x, "hidden", critic)) for x in (linear(np.float64(theirs["pooled"]), "teacher", critic), h)]
    real, made = (linear(x, "real", critic)[..., 0] for x in seen)
    which = -log_softmax(linear(seen[1], "which", critic))[:, range(3), range(3)].mean()
    log_d = lambda x: -np.logaddexp(0, -x)  # noqa: E731
    wanted |= {
        "adversarial": -log_d(made).mean(),
        "diversity": which,
        "critic": -0.9 * log_d(real).mean() - 0.1 * log_d(-real).mean() - log_d(-made).mean() + which,
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    factors = {"adversarial": 0.1, "diversity": 0.1}
    np.testing.assert_allclose(metrics["loss"], sum(factors.get(k, 1.0) * v for k, v in wanted.items()), rtol=1e-4)


def test_the_critic_is_moved_by_its_own_term_alone():
    """And the student is not moved by that."""
    case = ackd()
    state = start(case)
    plain = jax.jit(case.method.step)(state, case.batch, KEY)[0].learner.params
    loud = ackd(adversarial=3.0, diversity=2.0)
    heard = jax.jit(loud.method.step)(state, case.batch, KEY)[0].learner.params
    close(plain["adapter"]["critic"], heard["adapter"]["critic"], atol=1e-7)
    assert not equal(plain["student"], heard["student"])
    silent = ackd(adversarial=0.0, diversity=0.0)
    critic = state.learner.params["adapter"]["critic"]
    changed = {**state.learner.params["adapter"], "critic": jax.tree.map(lambda x: x + 1, critic)}
    other = state._replace(learner=state.learner.replace(params={**state.learner.params, "adapter": changed}))
    a, b = (jax.jit(silent.method.step)(one, case.batch, KEY)[0].learner.params["student"] for one in (state, other))
    assert equal(a, b)


def test_what_is_shipped_has_the_plain_net_s_parameters_and_learners_differ():
    case = ackd()
    state = start(case)
    plain, _ = jax.eval_shape(staged().init, KEY, case.batch["image"])
    assert jax.tree.map(jnp.shape, case.method.weights(state)["student"][0]) == jax.tree.map(jnp.shape, plain)
    group = state.learner.params["adapter"]["group"]
    assert not equal(group["learner1"], group["learner2"])


def test_refusals():
    with pytest.raises(InputError, match="temperature=0 is not accepted"):
        ackd(temperature=0)
    with pytest.raises(InputError, match="width=0 is not accepted"):
        ackd(width=0)
