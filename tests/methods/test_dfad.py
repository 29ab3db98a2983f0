"""Data-free adversarial distillation against the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from data_free_cases import DATA_FREE
from synthetic import KEY, easel, given_logits, golden, one_step, recorded

from kdjax import methods
from kdjax.core import Frozen
from kdjax.methods.offline.pkt import pkt_objective

IMAGES = np.full((5, 2, 2, 1), 0.5, np.float32)


def test_both_sides_are_the_authors():
    g, own = golden("dfad/generator"), golden("dfad/student")
    for file, name in ((g, "generator_loss"), (own, "student_loss")):
        student, teacher = given_logits(logits=file["logits_s"]), given_logits(logits=file["logits_t"])
        weights = Frozen(*teacher.init(KEY, IMAGES), "of a test")
        method = methods.dfad(student, teacher, easel(IMAGES), recorded(), recorded(), latent=2, student_steps=1)
        _, new, metrics = one_step(method, {"teacher": weights}, {"index": jnp.arange(5)})
        np.testing.assert_allclose(metrics[name], file["loss"], rtol=1e-6)
    np.testing.assert_allclose(new.student.learner.opt["student"]["logits"], own["grad_logits_s"], atol=1e-7)
    assert set(metrics) == {"generator_loss", "generator_adversarial", "student_loss", "student_discrepancy"}


@pytest.mark.parametrize("name", DATA_FREE)
def test_an_objective_takes_the_place_of_what_a_method_asks_its_student_for(name):
    """Of this and of each of the other data-free methods."""
    case = CASES[name](objective=pkt_objective())
    state = jax.eval_shape(case.method.init, KEY, case.batch, case.given)
    metrics = jax.eval_shape(case.method.step, state, case.batch, KEY)[1]
    assert {term for term in metrics if term.startswith("student_")} == {"student_loss", "student_neighbours"}
