import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.at import at_objective

RNG = np.random.default_rng(0)
MAP = jnp.asarray(RNG.normal(size=(6, 4, 4, 3)), jnp.float32)


def taps(*maps):
    return {f"stage{k}": x for k, x in enumerate(maps, 1)}


def term(student, teacher, **options):
    return unweighted(at_objective(**options), look(taps(*student), taps(*teacher)))


@pytest.mark.parametrize(("name", "power"), [("repdistiller/at", 2), ("repdistiller/at_p4", 4)])
def test_golden_of_all_stages(golden, name, power):
    g = golden(name)
    maps = {side: [jnp.asarray(g[f"f_{side}{k}"]) for k in range(2)] for side in "st"}
    value, slopes = jax.value_and_grad(lambda s: term(s, maps["t"], power=power))(maps["s"])
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for k, slope in enumerate(slopes):
        np.testing.assert_allclose(slope, g[f"grad_f_s{k}"], rtol=0, atol=1e-4 * np.abs(g[f"grad_f_s{k}"]).max())


def test_only_where_a_map_is_active_counts():
    assert term([MAP], [MAP]) == 0
    assert term([-5 * MAP[..., ::-1]], [MAP]) < 1e-10
    assert term([MAP[:, ::-1]], [MAP]) > 1e-4


def test_stages_that_do_not_pair_have_to_be_named():
    with pytest.raises(InputError, match="not equally many: the student's stage1 and the teacher's stage1, stage2"):
        term([MAP], [MAP, MAP])
    assert term([MAP], [-MAP[::-1], MAP], layers=("stage1=stage2",)) == 0


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.at) == {"label_weight": 1.0, "weight": 1000.0, "power": 2, "variant": "squared", "layers": ()}
