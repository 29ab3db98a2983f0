import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.cc import cc_objective

RNG = np.random.default_rng(0)
POOLED = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
LAYER = {"kernel": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32), "bias": jnp.ones(3)}


def term(params, student, teacher, **options):
    return unweighted(
        cc_objective(width=len(params["student"]["bias"]), **options), look({"pooled": student}, {"pooled": teacher}), params
    )


def test_golden_through_the_embeddings(golden):
    g = golden("repdistiller/cc")
    params = {
        side: {"kernel": g[f"w_embed_{side[0]}_kernel"], "bias": g[f"w_embed_{side[0]}_bias"]} for side in ("student", "teacher")
    }
    value, gradient = jax.value_and_grad(lambda x: term(params, x, g["f_t"]))(jnp.asarray(g["f_s"]))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, g["grad_f_s"], rtol=0, atol=1e-4 * np.abs(g["grad_f_s"]).max())


@pytest.mark.parametrize("variant", ["rows", "paper"])
def test_equal_embeddings_agree_and_both_are_trained(variant):
    alike = {"student": LAYER, "teacher": LAYER}
    assert term(alike, POOLED, POOLED, variant=variant) == 0
    value, slope = jax.value_and_grad(term)(alike, POOLED, POOLED[::-1], variant=variant)
    assert value > 1e-3
    assert all(jnp.any(x != 0) for x in jax.tree.leaves(slope))


def test_another_variant_is_refused():
    with pytest.raises(InputError, match="variant='gauss'"):
        term({"student": LAYER, "teacher": LAYER}, POOLED, POOLED, variant="gauss")


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.cc) == {"label_weight": 1.0, "weight": 0.02, "width": 128, "variant": "rows", "gamma": 0.4}


def test_the_embeddings_start_as_pytorch_s_linear_layers():
    objective = cc_objective(width=100)
    assert objective.adapter is not None
    params, _ = objective.adapter.init(jax.random.key(0), look({"pooled": POOLED}, {"pooled": POOLED[:, :3]}))
    for side, inputs in (("student", 4), ("teacher", 3)):
        for x in params[side].values():
            assert 0.9 < np.abs(x).max() * np.sqrt(inputs) <= 1
