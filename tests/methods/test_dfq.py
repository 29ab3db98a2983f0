"""The benchmark's DFQ: the generator of DAFL's terms, with an adversary."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close
from synthetic import KEY, easel, one_step, recorded
from tiny_nets import frozen, images, small, without_batch_norm

from kdjax import losses, methods
from kdjax.core import InputError, batch_norms

BATCH = {"index": jnp.arange(16)}


def step_of(make, net=None, **options):
    net = net or small(width=6)
    method = make(small(), net, easel(images()), optax.sgd(0.1), recorded(), latent=2, **options)
    return one_step(method, {"teacher": frozen(net)}, BATCH)


def test_it_is_dafl_with_these_weights():
    """The tables' four methods differ in weights alone."""
    _, one, a = step_of(methods.dfq, student_steps=2)
    _, other, b = step_of(methods.dafl, student_steps=2, activation=0.0, batch_norm=1.0, adversarial=1.0)
    close(one.student, other.student, rtol=1e-6, atol=1e-7)
    close(one.generator.opt, other.generator.opt, rtol=1e-5, atol=1e-7)
    assert set(a) == set(b)


def test_the_gaussian_form_is_a_flag():
    _, _, metrics = step_of(methods.dfq, student_steps=1, form="gaussian")
    teacher = small(width=6)
    given = frozen(teacher)
    taps, _ = teacher.apply(given.params, given.stats, images(), train=False)
    expected = sum(losses.batch_norm_gaussian(*layer) for layer in batch_norms(taps, given.stats))
    np.testing.assert_allclose(metrics["generator_batch_norm"], expected, rtol=1e-5)
    with pytest.raises(InputError, match=r"form='l1' is not accepted: expected 'norm' or 'gaussian'"):
        step_of(methods.dfq, student_steps=1, form="l1")


def test_a_teacher_without_batch_norm_is_refused():
    net = without_batch_norm()
    method = methods.dfq(net, net, easel(images()), optax.sgd(0.1), optax.sgd(0.1), latent=2)
    with pytest.raises(InputError, match=r"^batch_norm=1.0 is not accepted: this teacher has no batch-norm layers"):
        jax.eval_shape(method.step, method.init(KEY, BATCH, {"teacher": frozen(net)}), BATCH, KEY)
    method = methods.dfq(net, net, easel(images()), optax.sgd(0.1), optax.sgd(0.1), latent=2, batch_norm=0.0)
    jax.eval_shape(method.step, method.init(KEY, BATCH, {"teacher": frozen(net)}), BATCH, KEY)


@pytest.mark.parametrize("name", ["dkd", "crd", "at"])
def test_any_offline_objective_can_be_the_student_s(name):
    """With its adapter, beside pseudo-labels."""
    options = {
        "crd": {"negatives": 3, "labels": np.arange(16) % 4, "numbers": np.arange(16)},
        "at": {"layers": ("stage1",)},
        "dkd": {"steps_per_epoch": 1},
    }
    objective = getattr(methods, name).objective(**options.get(name, {}))
    net = small()
    method = methods.dfq(net, small(width=6), easel(images()), optax.sgd(0.1), optax.sgd(0.1), latent=2, objective=objective)
    given = {"teacher": frozen(small(width=6))}
    state = jax.eval_shape(method.init, KEY, BATCH, given)
    metrics = jax.eval_shape(method.step, state, BATCH, KEY)[1]
    assert {f"student_{term}" for term in objective.weights} < set(metrics)
    assert bool(jax.tree.leaves(state.student.learner.params["adapter"])) == (name == "crd")
