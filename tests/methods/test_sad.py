import jax
import optax
import pytest
from cases import CASES, start
from own_lessons import KEY, learns_as_supervised, same_as_golden, seen_of, total
from self_distil_cases import sad
from tiny_nets import small, staged

from kdjax.core import InputError
from kdjax.methods.self_distil.sad import sad_objective

TX = optax.sgd(0.2)


def test_golden(golden):
    g = golden("self_kd_lib/sad")
    objective = sad_objective(weight=1.0)

    def loss(f0, f1):
        return total(objective, seen_of({"stage1": f0, "stage2": f1, "stage3": g["f2"], "stage2_preact": f0}))

    same_as_golden(g, loss, "f0", "f1")


def test_without_weight_it_is_supervised_training():
    learns_as_supervised(CASES["sad"](weight=0.0, tx=TX), net=staged(), tx=TX)


def test_a_net_of_one_stage_is_refused():
    case = sad(net=small())
    with pytest.raises(InputError, match=r"^the network has 1 stages: expected 2 or more"):
        jax.eval_shape(case.method.step, start(case), case.batch, KEY)
