"""Conditional generative data-free distillation: its terms against those of DAFL and of its student's parts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, student_of
from synthetic import KEY, easel, one_step, recorded
from tiny_nets import CLASSES, frozen, images, small

from kdjax import losses, methods
from kdjax.core import InputError, Net
from kdjax.models import generator

BATCH = {"index": jnp.arange(16)}


def step_of(make, maker=None, **options):
    teacher = small(width=6)
    method = make(small(), teacher, maker or easel(images()), optax.sgd(0.1), recorded(), latent=2, student_steps=1, **options)
    return one_step(method, {"teacher": frozen(teacher)}, BATCH)


def test_without_labels_and_attention_its_terms_are_those_of_dafl():
    one = {"label": 0.0, "student_label": 0.0, "attention": 0.0, "classes": CLASSES, "temperature": 1.0}
    _, a, found = step_of(methods.cgdd, **one)
    _, b, expected = step_of(methods.dafl, one_hot=0.0, activation=0.1, balance=5.0)
    close(a.generator.opt, b.generator.opt, rtol=1e-5, atol=1e-7)
    close(a.student.learner, b.student.learner, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["generator_loss"], expected["generator_loss"], rtol=1e-6)


def test_the_generator_is_asked_for_the_classes_that_both_are_held_to():
    """A generator whose images are the class asked for, and what teacher and student are asked for."""
    asked = {}

    def apply(params, stats, drawn, *, train, key=None):
        jax.debug.callback(lambda labels: asked.setdefault("labels", np.asarray(labels)), drawn["label"])
        return {"image": params + 0 * drawn["latent"].sum()}, stats

    state, _, metrics = step_of(methods.cgdd, Net(lambda key, x: (images(), {}), apply), classes=CLASSES, layers=("stage1",))
    jax.effects_barrier()
    labels = asked["labels"]
    assert np.bincount(labels, minlength=CLASSES).tolist() == [4] * CLASSES
    teacher, net, given = small(width=6), small(), frozen(small(width=6))
    z = teacher.apply(given.params, given.stats, images(), train=False)[0]["logits"]
    np.testing.assert_allclose(metrics["generator_label"], losses.cross_entropy(z, labels).mean(), rtol=1e-5)
    learner = state.student.learner
    own = net.apply(learner.params["student"], learner.stats["student"], images(), train=True)[0]["logits"]
    np.testing.assert_allclose(metrics["student_cross_entropy"], losses.cross_entropy(own, labels).mean(), rtol=1e-5)


def test_the_student_sees_what_is_made_of_the_latents_that_were_judged():
    seen = []

    def apply(params, stats, drawn, *, train, key=None):
        jax.debug.callback(lambda *x: seen.append(np.concatenate([np.ravel(one) for one in x])), drawn["latent"], drawn["label"])
        return {"image": params + 0 * drawn["latent"].sum()}, stats

    step_of(methods.cgdd, Net(lambda key, x: (images(), {}), apply), classes=CLASSES, attention=0.0)
    jax.effects_barrier()
    assert len(seen) >= 2 and all(np.array_equal(x, seen[0]) for x in seen)


def test_a_generator_and_a_teacher_of_other_classes_are_refused():
    maker = generator(8, channels=1, features=2, classes=3)
    with pytest.raises(InputError, match=rf"classes={CLASSES} is not accepted: a generator of classes=3 is given a label of shape"):
        step_of(methods.cgdd, maker, classes=CLASSES, layers=("stage1",))
    maker = generator(8, channels=1, features=2, classes=7)
    with pytest.raises(InputError, match=rf"classes=7 is not accepted: expected {CLASSES}, those of the teacher"):
        step_of(methods.cgdd, maker, classes=7, layers=("stage1",))


def test_in_its_warm_up_the_student_does_not_learn():
    case = CASES["cgdd"](warm_up=2, adversarial=0.5)
    state = case.method.init(KEY, case.batch, case.given)
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    close(student_of(new.student), student_of(state.student), rtol=0, atol=0)
    weights = {"label": 1.0, "activation": 0.1, "balance": 5.0, "adversarial": 0.0}
    np.testing.assert_allclose(metrics["generator_loss"], sum(w * metrics[f"generator_{k}"] for k, w in weights.items()), rtol=1e-5)


@pytest.mark.parametrize(("weight", "there"), [(0.0, False), (0.5, True)])
def test_the_adversarial_form_is_a_flag(weight, there):
    case = CASES["cgdd"](adversarial=weight)
    state = jax.eval_shape(case.method.init, KEY, case.batch, case.given)
    assert ("generator_adversarial" in jax.eval_shape(case.method.step, state, case.batch, KEY)[1]) == there
