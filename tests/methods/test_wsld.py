import jax.numpy as jnp
import numpy as np
from cases import defaults, look, unweighted
from tiny_nets import LABELS

from kdjax import losses, methods
from kdjax.methods.offline.wsld import wsld_objective

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (jnp.asarray(3 * RNG.normal(size=(16, 4)), jnp.float32) for _ in range(2))


def term(labels=LABELS, teacher=TEACHER):
    seen = look({"logits": STUDENT}, {"logits": teacher}).replace(batch={"label": labels})
    return unweighted(wsld_objective(), seen)


def test_it_is_the_loss_and_vanishes_at_the_teacher():
    np.testing.assert_allclose(term(), losses.weighted_soft_labels(STUDENT, TEACHER, LABELS, temperature=2.0).mean(), rtol=1e-6)
    assert term(teacher=STUDENT) == 0 and term() != term(LABELS[::-1])


def test_the_teacher_names_images_without_a_label():
    np.testing.assert_allclose(term(-jnp.ones_like(LABELS)), term(jnp.argmax(TEACHER, -1)), rtol=1e-6)


def test_the_defaults_are_those_of_the_released_code():
    assert defaults(methods.wsld) == {"label_weight": 1.0, "weight": 2.5, "temperature": 2.0}
