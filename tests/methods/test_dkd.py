import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted
from tiny_nets import LABELS

from kdjax import methods
from kdjax.core import InputError
from kdjax.losses import kl_distillation
from kdjax.methods.offline.dkd import dkd_objective

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (jnp.asarray(3 * RNG.normal(size=(16, 4)), jnp.float32) for _ in range(2))


def objective(**options):
    return dkd_objective(**{"steps_per_epoch": 5, "warmup_epochs": 0} | options)


def terms(student=STUDENT, teacher=TEACHER, labels=LABELS, step=0, **options):
    seen = look({"logits": student}, {"logits": teacher}, step=step).replace(batch={"label": labels})
    return objective(**options).terms(seen, {})


def test_weighed_by_what_the_teacher_leaves_to_them_the_parts_are_plain_distillation():
    others = 1 - jnp.take_along_axis(jax.nn.softmax(TEACHER / 2), LABELS[:, None], 1)[:, 0]
    parts = terms(temperature=2.0)
    np.testing.assert_allclose(
        parts["true_class"] + others * parts["other_classes"], kl_distillation(STUDENT, TEACHER, temperature=2.0), rtol=1e-4
    )
    assert jnp.abs(terms(TEACHER)["other_classes"]).max() < 1e-5 < jnp.abs(parts["other_classes"]).min()


def test_the_weights_are_alpha_and_beta():
    assert dict(objective(alpha=0.5, beta=3.0).weights) == {"true_class": 0.5, "other_classes": 3.0}


@pytest.mark.parametrize(("step", "share"), [(0, 1 / 20), (4, 1 / 20), (5, 2 / 20), (94, 19 / 20), (95, 1), (300, 1)])
def test_the_warm_up_counts_epochs_from_1(step, share):
    whole, part = terms(), terms(step=step, warmup_epochs=20)
    for name, value in whole.items():
        np.testing.assert_allclose(part[name], share * value, rtol=1e-5, atol=1e-6)


def test_without_a_label_the_teacher_s_first_class_stands_for_it():
    known = jnp.arange(16) < 8
    found = terms(labels=jnp.where(known, LABELS, -1))
    wanted = terms(labels=jnp.where(known, LABELS, jnp.argmax(TEACHER, -1)))
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)
    assert np.any(found["true_class"] != terms()["true_class"])


@pytest.mark.parametrize(("name", "standardised"), [("mdistiller/dkd", False), ("lskd/dkd", True)])
def test_golden(golden, name, standardised):
    g = golden(name)
    alpha, beta = float(g["hp_alpha"]), float(g["hp_beta"])

    def total(student):
        found = terms(
            student, jnp.asarray(g["logits_t"]), jnp.asarray(g["labels"]),
            temperature=float(g["hp_temperature"]), standardised=standardised,
        )  # fmt: skip
        return alpha * jnp.mean(found["true_class"]) + beta * jnp.mean(found["other_classes"])

    value, slope = jax.value_and_grad(total)(jnp.asarray(g["logits_s"]))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(slope, g["grad_logits_s"], rtol=0, atol=1e-4 * np.abs(g["grad_logits_s"]).max())


def test_the_defaults_are_the_paper_s():
    found = defaults(methods.dkd)
    assert found.pop("steps_per_epoch") is not None  # nothing: it has to be given
    assert found == {
        "label_weight": 1.0, "alpha": 1.0, "beta": 8.0, "temperature": 4.0, "warmup_epochs": 20, "standardised": False,
    }  # fmt: skip


def test_a_temperature_that_is_not_above_zero_is_refused():
    seen = look({"logits": STUDENT}, {"logits": TEACHER}).replace(batch={"label": LABELS})
    with pytest.raises(InputError, match="temperature=0"):
        unweighted(objective(temperature=0.0), seen)
