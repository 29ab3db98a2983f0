"""Zero-shot knowledge transfer against the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import student_of
from synthetic import KEY, easel, given_logits, golden, one_step, recorded
from tiny_nets import frozen, images, without_batch_norm

from kdjax import methods
from kdjax.core import Frozen, InputError, Net
from kdjax.models import generator

IMAGES = np.full((4, 2, 2, 1), 0.5, np.float32)
BATCH = {"index": jnp.arange(4)}


def test_the_generator_s_loss_is_the_authors():
    g = golden("zskt/generator")
    student, teacher = given_logits(logits=g["logits_s"]), given_logits(logits=g["logits_t"])
    method = methods.zskt(student, teacher, easel(IMAGES), recorded(), recorded(), attention=0.0, latent=2, student_steps=1)
    _, _, metrics = one_step(method, {"teacher": Frozen(*teacher.init(KEY, IMAGES), "of a test")}, BATCH)
    np.testing.assert_allclose(metrics["generator_loss"], g["loss"], rtol=1e-5)
    assert "student_attention" not in metrics


def test_the_student_s_loss_is_the_authors():
    g = golden("zskt/student")
    student, teacher = (given_logits(logits=g[f"logits_{who}"], stage1=g[f"f_{who}0"], stage2=g[f"f_{who}1"]) for who in ("s", "t"))
    method = methods.zskt(student, teacher, easel(IMAGES), recorded(), recorded(), latent=2, student_steps=1)
    _, new, metrics = one_step(method, {"teacher": Frozen(*teacher.init(KEY, IMAGES), "of a test")}, BATCH)
    np.testing.assert_allclose(metrics["student_loss"], g["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["student_attention"], np.sum(g["loss_at_per_layer"]), rtol=1e-5)
    found = new.student.learner.opt["student"]
    for tap, name in (("logits", "logits_s"), ("stage1", "f_s0"), ("stage2", "f_s1")):
        expected = g[f"grad_{name}"]
        np.testing.assert_allclose(found[tap], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("steps", [1, 3])
def test_all_student_steps_see_the_same_latents_through_the_updated_generator(steps):
    """The student's statistics are the mean of its last batch."""
    net = without_batch_norm()

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, {}, x, train=train)[0], {"seen": jnp.mean(x, 0)} if train else stats

    student = Net(lambda key, x: (net.init(key, x)[0], {"seen": jnp.zeros(x.shape[1:])}), apply)
    maker, batch = generator(8, channels=1, features=2), {"index": jnp.arange(16)}
    method = methods.zskt(student, net, maker, optax.sgd(0.1), optax.adam(0.1), attention=0.0, latent=3, student_steps=steps)
    state, new, _ = one_step(method, {"teacher": frozen(net)}, batch)
    keys = jax.random.split(KEY, steps + 2)
    z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(keys[0], i), (3,)))(batch["index"])
    expected = maker.apply(new.generator.params, new.generator.stats, z, train=True)[0]["image"].mean(0)
    np.testing.assert_allclose(student_of(new.student)[1]["seen"], expected, atol=1e-6)
    assert images().shape[1:] == expected.shape and not np.allclose(state.generator.params["linear"]["kernel"], 0)


def test_several_teachers_have_no_stages_to_compare():
    g = golden("zskt/student")
    student = given_logits(logits=g["logits_s"], stage1=g["f_s0"])
    teacher = given_logits(**{"logits": g["logits_t"], "teacher0/stage1": g["f_t0"]})
    method = methods.zskt(student, teacher, easel(IMAGES), recorded(), recorded(), latent=2, student_steps=1)
    with pytest.raises(InputError, match=r"attention=250\.0 compares the stages of one teacher.*: expected attention=0, or"):
        one_step(method, {"teacher": Frozen(*teacher.init(KEY, IMAGES), "of a test")}, BATCH)
