import jax.numpy as jnp
import numpy as np
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.methods.offline.sp import sp_objective

RNG = np.random.default_rng(0)
MAP = jnp.asarray(RNG.normal(size=(6, 3, 3, 4)), jnp.float32)


def term(student, teacher, **options):
    return unweighted(sp_objective(**options), look({"stage1": MAP, "stage2": student}, {"stage1": MAP, "stage2": teacher}))


def test_a_turned_and_scaled_map_is_as_good_and_a_shuffled_one_is_not():
    turn = jnp.asarray(np.linalg.qr(RNG.normal(size=(36, 36)))[0], jnp.float32)
    turned = (3 * MAP.reshape(6, 36) @ turn).reshape(6, 2, 2, 9)
    assert term(MAP, MAP) == 0
    assert term(turned, MAP) < 1e-10
    assert term(turned, MAP[::-1]) > 1e-3


def test_only_the_last_stages_count_unless_told():
    assert term(MAP, MAP[::-1]) > 1e-3
    assert term(MAP, MAP[::-1], layer="stage1") == 0
    assert term(MAP[::-1], MAP, layer="stage1=stage2") == 0


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.sp) == {"label_weight": 1.0, "weight": 3000.0, "layer": ""}
