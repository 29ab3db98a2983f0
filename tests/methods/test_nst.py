import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import losses, methods
from kdjax.core import InputError
from kdjax.methods.offline.nst import nst_objective

RNG = np.random.default_rng(0)
LOW, HIGH = (jnp.asarray(RNG.normal(size=(3, side, side, 4)), jnp.float32) for side in (4, 2))


def term(student, teacher, **options):
    return unweighted(nst_objective(**options), look(student, teacher))


def test_channels_may_be_shuffled_scaled_and_doubled_and_positions_may_not():
    taps = {"stage1": LOW, "stage2": HIGH}
    alike = {"stage1": -3 * LOW[..., ::-1], "stage2": jnp.concatenate([HIGH, HIGH], -1)}
    assert abs(term(alike, taps)) < 1e-6
    assert term(alike | {"stage1": LOW[:, ::-1]}, taps) > 1e-3


def test_the_stages_are_added_up():
    student, teacher = {"stage1": LOW, "stage2": HIGH}, {"stage1": HIGH, "stage2": HIGH[:, ::-1]}
    each = [jnp.mean(losses.neuron_selectivity(student[name], teacher[name])) for name in student]
    np.testing.assert_allclose(term(student, teacher), sum(each), rtol=1e-6)
    np.testing.assert_allclose(term(student, teacher, layers=("stage2",)), each[1], rtol=1e-6)


def test_unequal_numbers_of_stages_are_refused():
    with pytest.raises(InputError, match=r"not equally many: the student's stage1 and the teacher's stage1, stage2"):
        term({"stage1": LOW}, {"stage1": LOW, "stage2": HIGH})


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.nst) == {"label_weight": 1.0, "weight": 50.0, "layers": ()}
