import jax
import jax.numpy as jnp
import numpy as np
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.methods.offline.dist import dist_objective

RNG = np.random.default_rng(0)
TEACHER = jnp.asarray(3 * RNG.normal(size=(16, 4)), jnp.float32)


def term(student, teacher=TEACHER, **options):
    return unweighted(dist_objective(**options), look({"logits": student}, {"logits": teacher}))


def test_outputs_that_vary_as_the_teacher_s_are_as_good_and_shuffled_ones_are_not():
    weaker = jnp.log(0.3 * jax.nn.softmax(TEACHER) + 0.7 / 4)
    assert term(TEACHER) < 1e-4
    assert term(weaker, temperature=1.0) < 1e-5
    assert term(TEACHER[::-1], temperature=1.0) > 0.1
    assert term(weaker[:, ::-1], temperature=1.0) > 0.1


def test_tau_stands_squared_before_the_correlations_of_softened_outputs():
    student = TEACHER[::-1]
    np.testing.assert_allclose(term(student), 16 * term(student / 4, TEACHER / 4, temperature=1.0), rtol=1e-4)


def test_golden(golden):
    g = golden("dist/dist")
    for weights, name in (({}, "loss"), ({"gamma": 0.0}, "loss_inter"), ({"beta": 0.0}, "loss_intra")):
        np.testing.assert_allclose(
            term(jnp.asarray(g["logits_s"]), jnp.asarray(g["logits_t"]), temperature=1.0, **weights), g[name], rtol=1e-5
        )


def test_the_defaults_are_the_authors():
    assert defaults(methods.dist) == {"label_weight": 1.0, "weight": 2.0, "beta": 1.0, "gamma": 1.0, "temperature": 4.0}
