import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES
from own_lessons import learns_as_supervised, same_as_golden, seen_of, total

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective
from kdjax.methods.self_distil.tf_kd import tf_kd_objective


def test_golden_of_the_library(golden):
    g = golden("self_kd_lib/tf_kd_reg")
    objective = tf_kd_objective(correct=1 - g["hp_epsilon"].item(), temperature=g["hp_temperature"].item())
    same_as_golden(g, lambda z: total(objective, seen_of({"logits": z}, g["labels"])), "logits_s")


def test_golden_of_the_authors(golden):
    """They divide the divergence by the number of classes too."""
    g = golden("tf_kd/reg")
    alpha, classes = g["hp_alpha"].item(), g["logits_s"].shape[1]
    options = {"correct": 0.99, "temperature": g["hp_temperature"].item(), "variant": "official"}
    both = combine(labels_objective(1 - alpha), tf_kd_objective(weight=alpha * g["hp_multiplier"].item() / classes, **options))
    same_as_golden(g, lambda z: total(both, seen_of({"logits": z}, g["labels"])), "logits_s")


def test_a_sure_teacher_is_the_label():
    learns_as_supervised(CASES["tf_kd"](label_weight=0.0, correct=1.0, temperature=1.0))


def test_rows_without_a_label_do_not_count():
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    whole = total(tf_kd_objective(), seen_of({"logits": z[:2]}, np.array([0, 2])))
    half = total(tf_kd_objective(), seen_of({"logits": z}, np.array([0, 2, -1, -1])))
    np.testing.assert_allclose(half, whole, rtol=1e-6)
    assert not jax.grad(lambda z: total(tf_kd_objective(), seen_of({"logits": z}, jnp.array([0, -1, 1, -1]))))(z)[1::2].any()


@pytest.mark.parametrize("options", [{"correct": 2.0}, {"temperature": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}=.* is not accepted"):
        methods.tf_kd(None, None, **options)  # pyright: ignore
