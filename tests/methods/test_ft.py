import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look

from kdjax import methods
from kdjax.core import Frozen, InputError
from kdjax.methods.offline.ft import ft_objective


def layers(g, part, names):
    keys = {"conv": ("kernel", "bias"), "bn": ("scale", "bias")}
    return {
        f"{name}{k}": {key: jnp.asarray(g[f"w_{part}_{name}{k}_{key}"]) for key in keys[name]} for name in names for k in (1, 2, 3)
    }


def seen_of(student, teacher, encoder):
    seen = look({"stage1": student}, {"stage1": teacher})
    return seen.replace(given={**seen.given, "paraphraser": Frozen({"encoder": encoder}, {})})


def test_golden_of_translator_and_paraphraser(golden):
    g = golden("repdistiller/ft_translator")
    objective, encoder = ft_objective(), layers(g, "paraphraser", ("conv",))
    params = {"translator": layers(g, "translator", ("conv", "bn"))}
    _, stats = objective.adapter.init(jax.random.key(0), seen_of(jnp.asarray(g["f_s"]), jnp.asarray(g["f_t"]), encoder))

    def loss(student):
        seen = seen_of(student, jnp.asarray(g["f_t"]), encoder)
        adapted, _ = objective.adapter.apply(params, stats, seen, train=True)
        return jnp.mean(objective.terms(seen, adapted)["factor"]), adapted

    (value, factors), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(g["f_s"]))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for side in ("student", "teacher"):
        np.testing.assert_allclose(factors[side], g[f"factor_{side[0]}"], atol=1e-5)
    np.testing.assert_allclose(slope, g["grad_f_s"], rtol=0, atol=1e-4 * np.abs(g["grad_f_s"]).max())


def test_only_the_direction_of_a_factor_counts():
    factor = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 3, 2)), jnp.float32)
    seen = look({}, {})

    def term(student, **options):
        return jnp.mean(ft_objective(**options).terms(seen, {"student": student, "teacher": factor})["factor"])

    assert term(factor) == 0 and term(5 * factor) < 1e-6
    assert term(factor[..., ::-1]) < 1e-6 < 1e-3 < term(factor[..., ::-1], channel_pool=False)  # channels are pooled
    assert term(factor[::-1]) > 1e-3


def test_a_paraphraser_of_another_map_is_refused(golden):
    g = golden("repdistiller/ft_translator")
    seen = seen_of(jnp.asarray(g["f_s"]), jnp.asarray(g["f_s"]), layers(g, "paraphraser", ("conv",)))
    with pytest.raises(InputError, match="trained on a map of 6 channels: expected that, not one of 4"):
        ft_objective().adapter.init(jax.random.key(0), seen)


def test_the_defaults_are_the_code_s():
    assert defaults(methods.ft) == {"label_weight": 1.0, "weight": 200.0, "layer": "", "p1": 2, "p2": 1, "channel_pool": True}
