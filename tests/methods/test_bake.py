import jax
import numpy as np
import pytest
from cases import CASES, start
from own_lessons import KEY, learns_as_supervised, same_as_golden, seen_of, total

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective
from kdjax.methods.self_distil.bake import bake_objective


def test_golden(golden):
    g = golden("bake/bake")
    options = {"temperature": g["hp_temperature"].item(), "omega": g["hp_omega"].item(), "weight": g["hp_lamda"].item()}
    whole = combine(labels_objective(), bake_objective(**options))
    same_as_golden(
        g, lambda pooled, logits: total(whole, seen_of({"pooled": pooled, "logits": logits}, g["labels"])), "feats", "logits"
    )


def test_golden_of_the_library_before_its_second_softmax(golden):
    g = golden("self_kd_lib/bake")
    objective = bake_objective(temperature=g["hp_temperature"].item(), omega=g["hp_omega"].item())
    value = total(objective, seen_of({"pooled": g["feats"], "logits": g["logits_s"]}, g["labels"]))
    np.testing.assert_allclose(value, g["loss_kl_on_targets"], rtol=5e-5)


def test_without_others_it_is_supervised_training():
    learns_as_supervised(CASES["bake"](omega=0.0))


@pytest.mark.parametrize("omega", [1, 1.0, -0.1])
def test_an_omega_out_of_range_is_refused(omega):
    with pytest.raises(InputError, match=rf"^omega={omega} is not accepted: expected a number from 0 to below 1"):
        methods.bake(None, None, omega=omega)  # pyright: ignore


def test_a_batch_is_not_sliced():
    case = CASES["bake"](micro=2)
    with pytest.raises(InputError, match="micro=2 is not accepted: the term 'ensembling' couples the rows"):
        jax.eval_shape(case.method.step, start(case), case.batch, KEY)
