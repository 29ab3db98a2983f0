import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.srrl import srrl_objective

RNG = np.random.default_rng(0)
KERNEL, BIAS, POOLED, OTHER = (RNG.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3,), (4, 5), (4, 5)))
TEACHER = {"pooled": jnp.asarray(POOLED), "logits": jnp.asarray(POOLED @ KERNEL + BIAS)}
PARAMS = {"classifier": {"kernel": jnp.asarray(KERNEL), "bias": jnp.asarray(BIAS)}}
STUDENT = {"stage1_preact": jnp.asarray(RNG.normal(size=(4, 6, 6, 2)), jnp.float32), "stage1": jnp.zeros((4, 6, 6, 2))}


def test_the_teacher_s_features_cost_nothing_and_others_what_the_paper_says():
    terms, seen = srrl_objective().terms, look(STUDENT, TEACHER, PARAMS)
    assert all(jnp.all(jnp.abs(term) < 1e-10) for term in terms(seen, {"pooled": TEACHER["pooled"]}).values())
    found = terms(seen, {"pooled": jnp.asarray(OTHER)})
    np.testing.assert_allclose(found["representation"], np.mean((OTHER - POOLED) ** 2, -1), rtol=1e-5)
    np.testing.assert_allclose(found["regression"], np.mean(((OTHER - POOLED) @ KERNEL) ** 2, -1), rtol=1e-4)


def test_the_connector_takes_the_map_behind_the_last_activation():
    objective, seen = srrl_objective(), look(STUDENT, TEACHER, PARAMS)
    params, stats = objective.adapter.init(jax.random.key(0), seen)
    assert params["conv"]["kernel"].shape == (1, 1, 2, 5)
    adapted, _ = objective.adapter.apply(params, stats, seen, train=False)
    by_hand = np.maximum(np.maximum(STUDENT["stage1_preact"], 0) @ params["conv"]["kernel"][0, 0], 0).mean((1, 2))
    np.testing.assert_allclose(adapted["pooled"], by_hand, rtol=1e-4)


def test_a_teacher_without_a_linear_layer_is_refused():
    with pytest.raises(InputError, match="the teacher has no linear layer 'classifier'"):
        srrl_objective().terms(look(STUDENT, TEACHER, {}), {"pooled": TEACHER["pooled"]})


def test_the_defaults_are_the_authors():
    assert defaults(methods.srrl) == {"label_weight": 1.0, "weight": 1.0}
    assert srrl_objective(weight=3.0).weights == {"representation": 3.0, "regression": 3.0}
