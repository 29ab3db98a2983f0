"""Whole objectives of data-free methods, put together from the losses, against the authors' code: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import small_net
from oracle import same_gradient, same_value, value_and_grad

from kdjax import losses


def same_objective(g, total, *names):
    """`total(*arrays)` has the value and the gradients of a reference file."""
    value, gradients = value_and_grad(total, argnums=tuple(range(len(names))))(*(g[name] for name in names))
    same_value(value, g["loss"])
    for name, gradient in zip(names, gradients, strict=True):
        same_gradient(gradient, g[f"grad_{name}"])


def golden_objective(g, parts):
    """Checks the parts of a published objective and, through two networks, the gradient of their weighted sum."""

    def total(images):
        each = {name: part(images) for name, part in parts.items()}
        return sum(g[f"hp_{weight}"].item() * each[name] for name, weight in WEIGHTS.items() if name in each), each

    (value, each), gradient = value_and_grad(total, has_aux=True)(jnp.asarray(g["images"]))
    for name in each:
        same_value(each[name], g[f"loss_{name}"], 5e-5)
    same_value(value, g["loss"])
    same_gradient(gradient, g["grad_images"])


WEIGHTS = {"bn": "bn", "onehot": "oh", "act": "act", "adv": "adv", "balance": "balance", "tv": "tv", "l2": "l2"}


def bn_term(g, x):
    return sum(losses.batch_norm_statistics(*layer) for layer in small_net(g, "teacher", x)[2])


def test_dafl_objective_golden(golden):
    g = golden("datafree/dafl_objective")

    def adversarial(x):
        student, teacher = small_net(g, "student", x)[0], small_net(g, "teacher", x)[0]
        return -jnp.mean(losses.kl_distillation(student, teacher, temperature=1.0, stop_teacher=False))

    golden_objective(
        g,
        {
            "bn": lambda x: bn_term(g, x),
            "onehot": lambda x: jnp.mean(losses.one_hot_confidence(small_net(g, "teacher", x)[0])),
            "act": lambda x: jnp.mean(losses.activation_norm(small_net(g, "teacher", x)[1])),
            "balance": lambda x: losses.class_balance(small_net(g, "teacher", x)[0]),
            "adv": adversarial,
        },
    )


def test_deepinversion_objective_golden(golden):
    g = golden("datafree/deepinversion_objective")

    def adversarial(x):
        student, teacher = small_net(g, "student", x)[0], small_net(g, "teacher", x)[0]
        return -jnp.mean(losses.jensen_shannon(student, teacher, temperature=float(g["hp_temperature_js"])))

    golden_objective(
        g,
        {
            "bn": lambda x: bn_term(g, x),
            "onehot": lambda x: jnp.mean(losses.cross_entropy(small_net(g, "teacher", x)[0], g["targets"])),
            "adv": adversarial,
            "tv": losses.image_prior,
            "l2": losses.image_norm,
        },
    )


def test_dafl_as_published(golden):
    g = golden("dafl/objective")

    def total(student, teacher, features):
        parts = {
            "one_hot": jnp.mean(losses.one_hot_confidence(teacher)),
            "information_entropy": losses.class_balance(teacher, base=10),
            "activation": jnp.mean(losses.activation_norm(features)),
            "kd": jnp.mean(losses.kl_distillation(student, teacher, temperature=1.0)),
        }
        weights = {"one_hot": g["hp_oh"], "information_entropy": g["hp_ie"], "activation": g["hp_a"], "kd": 1.0}
        return sum(weights[name] * part for name, part in parts.items()), parts

    arrays = g["logits_s"], g["logits_t"], g["feats"]
    same_objective(g, lambda *x: total(*x)[0], "logits_s", "logits_t", "feats")
    for name, part in jax.jit(total)(*arrays)[1].items():
        same_value(part, g[f"loss_{name}"])


def test_dfad(golden):
    apart = losses.logit_discrepancy
    same_objective(golden("dfad/student"), lambda s, t: jnp.mean(apart(s, jax.lax.stop_gradient(t))), "logits_s", "logits_t")
    same_objective(golden("dfad/generator"), lambda s, t: -jnp.mean(apart(s, t)), "logits_s", "logits_t")
    same_objective(golden("dfad/generator_log"), lambda s, t: -jnp.log(1 + jnp.mean(apart(s, t))), "logits_s", "logits_t")


def element_mean(student, teacher, **options):
    """The divergence as PyTorch averages it unless told otherwise: over examples *and* classes."""
    return jnp.mean(losses.kl_distillation(student, teacher, temperature=1.0, **options)) / student.shape[-1]


def test_zero_shot_knowledge_transfer(golden):
    generator = golden("zskt/generator")
    same_objective(generator, lambda s, t: -element_mean(s, t, stop_teacher=False), "logits_s", "logits_t")

    g = golden("zskt/student")
    beta = float(g["hp_at_beta"])

    def total(student, low, high, teacher=g["logits_t"]):
        layers = zip((low, high), (g["f_t0"], g["f_t1"]), strict=True)
        return element_mean(student, teacher) + beta * sum(jnp.mean(losses.attention_transfer(s, t)) for s, t in layers)

    same_objective(g, total, "logits_s", "f_s0", "f_s1")
    same_value(element_mean(g["logits_s"], g["logits_t"]), g["loss_kl"])


def further_than_agreed(student, teacher):
    """ADI's term of a batch, which the authors hold between 0 and 1."""
    return 1 - jnp.clip(jnp.mean(losses.jensen_shannon(student, teacher, temperature=3.0)), 0, 1)


@pytest.mark.parametrize("form", ["cifar", "imagenet"])
def test_deepinversion_as_published(golden, form):
    g = golden(f"deepinversion/{form}_objective")
    imagenet = form == "imagenet"

    def total(images, teacher, student, norms):
        prior = g["hp_tv_l2"] * losses.image_prior(images, norm="l2")
        if imagenet:
            prior += g["hp_tv_l1"] * losses.image_prior(images)
            norms = norms * np.float32([g["hp_first_bn_multiplier"], 1, 1])
        return (
            jnp.mean(losses.cross_entropy(teacher, g["targets"]))
            + prior
            + g["hp_l2"] * losses.image_norm(images, per_image=imagenet)
            + g["hp_r_feature"] * jnp.sum(norms)
            + g["hp_adi_scale"] * further_than_agreed(student, teacher)
        )

    same_objective(g, total, "images", "logits_t", "logits_s", "bn_terms")
    same_value(losses.image_prior(g["images"], norm="l2"), g["loss_tv_l2"])
    same_value(losses.image_prior(g["images"]), g["loss_tv_l1"])
    same_value(further_than_agreed(g["logits_s"], g["logits_t"]), g["loss_adi"])


@pytest.mark.parametrize("form", ["kl", "js"])
def test_curriculum_generator(golden, form):
    g = golden(f"cudfkd/generator_{form}")

    def total(student, teacher, features):
        if form == "kl":
            adversarial = jnp.mean(losses.decision_adversarial(student, teacher, temperature=3.0))
        else:
            adversarial = further_than_agreed(student, teacher)
        return (
            -g["hp_lmda_ent"] * losses.class_balance(teacher, temperature=float(g["hp_temperature_entropy"]))
            + g["hp_adv"] * adversarial
            + g["hp_oh"] * jnp.mean(losses.one_hot_confidence(teacher))
            + g["hp_act"] * jnp.mean(losses.activation_norm(features))
        )

    same_objective(g, total, "logits_s", "logits_t", "feats")


@pytest.mark.parametrize("kind", ["log", "soft", "hard"])
def test_self_paced_student_of_squares(golden, kind):
    g = golden(f"cudfkd/student_l2_{kind}")
    age = float(g["hp_lambda_0"] + g["hp_alpha"] * g["hp_global_iter"])

    def total(student):
        each = (student - g["logits_t"]) ** 2  # the authors' code weighs logits one by one, and adds them up
        return jnp.sum(losses.self_paced(each, age=age, kind=kind) * each)

    same_objective(g, total, "logits_s")
    weights = losses.self_paced((g["logits_s"] - g["logits_t"]) ** 2, age=age, kind=kind)
    np.testing.assert_allclose(weights, g["weights"], atol=1e-5)


def test_self_paced_student_of_divergences(golden):
    g = golden("cudfkd/student_kl_log")
    age = float(g["hp_lambda_0"] + g["hp_alpha"] * g["hp_global_iter"])

    def total(student):
        whole = jnp.mean(losses.kl_distillation(student, g["logits_t"], temperature=float(g["hp_temperature"])))
        return losses.self_paced(whole, age=age) * whole  # one weight for the batch

    same_objective(g, total, "logits_s")
