import jax
import jax.numpy as jnp
import numpy as np
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.methods.offline.lskd import lskd_objective

RNG = np.random.default_rng(0)
TEACHER = jnp.asarray(3 * RNG.normal(size=(16, 4)), jnp.float32)


def term(student, teacher=TEACHER, **options):
    return unweighted(lskd_objective(**options), look({"logits": student}, {"logits": teacher}))


def test_the_student_is_free_in_the_mean_and_the_size_of_its_logits():
    assert term(TEACHER) < 1e-6
    assert term(0.1 * TEACHER - 7) < 1e-5
    assert term(TEACHER[:, ::-1]) > 0.1
    assert term(-TEACHER) > 0.1


def test_golden(golden):
    g = golden("lskd/kd")
    value, slope = jax.value_and_grad(lambda s: term(s, jnp.asarray(g["logits_t"])))(jnp.asarray(g["logits_s"]))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(slope, g["grad_logits_s"], rtol=0, atol=1e-4 * np.abs(g["grad_logits_s"]).max())


def test_the_defaults_are_the_authors():
    assert defaults(methods.lskd) == {"label_weight": 0.1, "weight": 9.0, "temperature": 2.0, "ddof": 1}
