import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.fsp import fsp_objective

RNG = np.random.default_rng(0)
LOW, HIGH = (jnp.asarray(RNG.normal(size=(6, 4, 4, c)), jnp.float32) for c in (3, 5))


def term(student, teacher, **options):
    names = ("stem", "stage1", "stage2")
    sides = [dict(zip(names, maps, strict=False)) for maps in (student, teacher)]
    return unweighted(fsp_objective(**options), look(*sides))


def test_golden(golden):
    g = golden("repdistiller/fsp")
    maps = {side: [jnp.asarray(g[f"f_{side}{k}"]) for k in range(3)] for side in "st"}
    value, slopes = jax.value_and_grad(lambda s: term(s, maps["t"]))(maps["s"])
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(term(maps["s"], maps["t"], layers=("stem", "stage1")), g["loss_per_pair"][0], rtol=1e-5)
    for k, slope in enumerate(slopes):
        wanted = g[f"grad_f_s{k}"]
        np.testing.assert_allclose(slope, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_the_flow_does_not_see_where_but_together_with_what():
    turned = LOW[:, ::-1], HIGH[:, ::-1]
    assert term((LOW, HIGH), (LOW, HIGH)) == 0
    assert term(turned, (LOW, HIGH)) < 1e-10
    assert term((LOW[:, ::-1], HIGH), (LOW, HIGH)) > 1e-3


def test_other_channels_and_a_single_layer_are_refused():
    with pytest.raises(InputError, match=r"equal channels .* the student's have \(3, 3\), the teacher's \(3, 5\)"):
        term((LOW, LOW), (LOW, HIGH))
    with pytest.raises(InputError, match=r"layers=\('stage1',\) is not accepted: expected two or more"):
        fsp_objective(layers=("stage1",))


def test_the_defaults_are_the_code_s():
    assert defaults(methods.fsp) == {"weight": 1.0, "layers": ()}
