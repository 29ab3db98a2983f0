"""The curriculum against the authors' code, and the benchmark's generator where it has none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close
from synthetic import KEY, easel, given_logits, golden, one_step, recorded
from tiny_nets import frozen, images, small

from kdjax import losses, methods
from kdjax.core import Frozen, InputError

BATCH = {"index": jnp.arange(16)}


def test_the_generator_s_terms_are_the_authors():
    g = golden("cudfkd/generator_kl")
    student, teacher = given_logits(logits=g["logits_s"]), given_logits(logits=g["logits_t"])
    pictures = np.full((5, 2, 2, 1), 0.5, np.float32)
    method = methods.cudfkd(
        student, teacher, easel(pictures), recorded(), recorded(), steps=8, steps_per_epoch=2, batch_norm=0.0,
        balance_temperature=float(g["hp_temperature_entropy"]), adversarial_temperature=float(g["hp_temperature_adv"]), latent=2,
        student_steps=1,
    )  # fmt: skip
    _, _, metrics = one_step(method, {"teacher": Frozen(*teacher.init(KEY, pictures), "of a test")}, {"index": jnp.arange(5)})
    np.testing.assert_allclose(metrics["generator_balance"], -g["loss_entropy"], rtol=1e-5)
    rest = {"one_hot": float(g["hp_oh"]), "adversarial": float(g["hp_adv"])}
    total = float(g["hp_lmda_ent"]) * g["loss_entropy"] + sum(w * float(metrics[f"generator_{k}"]) for k, w in rest.items())
    total -= float(g["hp_act"]) * np.abs(g["feats"]).mean()
    np.testing.assert_allclose(total, g["loss"], rtol=1e-5)


def run(make, **options):
    teacher = small(width=6)
    method = make(small(), teacher, easel(images()), optax.sgd(0.1), recorded(), latent=2, student_steps=2, **options)
    return one_step(method, {"teacher": frozen(teacher)}, BATCH)


def test_without_a_curriculum_it_is_the_benchmark_s_generator():
    still = {"increment": 0.0, "kind": "none", "balance_temperature": 1.0, "steps": 8, "steps_per_epoch": 2}
    _, a, _ = run(methods.cudfkd, **still)
    _, b, _ = run(methods.dafl, activation=0.0, batch_norm=1.0)
    close(a.generator.opt, b.generator.opt, rtol=1e-5, atol=1e-7)
    close(a.student.learner, b.student.learner, rtol=1e-5, atol=1e-7)


def test_the_adversarial_factor_grows_between_its_two_epochs():
    """Eight epochs of two steps; behind epochs 3, 4 and 5 it gains 0.5."""
    student, teacher = (given_logits(logits=scale * np.eye(16, 4)) for scale in (1, 3))  # both name the same classes
    method = methods.cudfkd(
        student, teacher, easel(images()), optax.sgd(0.0), optax.sgd(0.0), steps=16, steps_per_epoch=2, batch_norm=0.0, latent=2,
        student_steps=1,
    )  # fmt: skip
    state = method.init(KEY, BATCH, {"teacher": Frozen(*teacher.init(KEY, images()), "of a test")})

    step, factors = jax.jit(method.step), []
    for k in range(0, 16, 2):
        _, metrics = step(state._replace(step=jnp.int32(k)), BATCH, KEY)
        rest = metrics["generator_one_hot"] + 20 * metrics["generator_balance"]
        factors.append(float((metrics["generator_loss"] - rest) / metrics["generator_adversarial"]))
    np.testing.assert_allclose(factors, [0, 0, 0, 0, 0.5, 1.0, 1.5, 1.5], atol=2e-3)


@pytest.mark.parametrize("kind", ["log", "hard", "soft"])
def test_the_student_weighs_each_image_by_its_loss_and_age(kind):
    rng = np.random.default_rng(1)
    student, teacher = (given_logits(logits=scale * rng.normal(size=(6, 4))) for scale in (1, 3))
    pictures = np.full((6, 2, 2, 1), 0.5, np.float32)
    method = methods.cudfkd(
        student, teacher, easel(pictures), optax.sgd(0.0), optax.sgd(0.0), steps=8, steps_per_epoch=2, batch_norm=0.0, kind=kind,
        age=0.5, ageing=0.25, latent=2, student_steps=2,
    )  # fmt: skip
    weights = Frozen(*teacher.init(KEY, pictures), "of a test")
    _, _, metrics = one_step(method, {"teacher": weights}, {"index": jnp.arange(6)})
    own, theirs = (net.init(KEY, pictures)[0]["logits"] for net in (student, teacher))
    apart = np.asarray(losses.kl_distillation(own, theirs, temperature=1.0))
    v = {
        "log": lambda l, a: (1 + np.exp(-a)) / (1 + np.exp(l - a)),
        "hard": lambda l, a: (l < a) * 1.0,
        "soft": lambda l, a: np.maximum(1 - l / a, 0),
    }[kind]
    expected = np.mean([np.mean(v(apart, age) * apart) for age in (0.5, 0.75)])
    np.testing.assert_allclose(metrics["student_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"begin": 0.8}, r"begin=0.8 is not accepted: expected a share of the epochs below end=0.75, which is at most 1"),
        ({"kind": "linear"}, r"kind='linear' is not accepted: expected 'log', 'hard', 'soft' or 'none'"),
        ({"age": 0.0}, r"age=0.0 is not accepted: expected a number above 0"),
        ({"ageing": -1e-4}, r"ageing=-0.0001 is not accepted: expected a number, 0 or more"),
        ({"increment": -0.5}, r"increment=-0.5 is not accepted: expected a number, 0 or more"),
        ({"balance_temperature": 0.0}, r"balance_temperature=0.0 is not accepted: expected a number above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        run(methods.cudfkd, steps=8, steps_per_epoch=2, **options)
