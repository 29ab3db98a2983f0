from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import close, defaults, look, offline, start

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.at import at_objective
from kdjax.methods.offline.fitnet import fitnet_objective
from kdjax.methods.offline.pursuhint import pursuhint_objective

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
LOW, HIGH = (jnp.asarray(RNG.normal(size=(3, side, side, 4)), jnp.float32) for side in (4, 2))


def test_hints_at_the_ends_of_the_stages_are_attention_transfer():
    a, b = offline(methods.pursuhint, layers=("stage1", "stage2"), factor=0.01)(), offline(methods.at, weight=10.0)()
    (a, _), (b, _) = (jax.jit(case.method.step)(start(case), case.batch, KEY) for case in (a, b))
    close(a.learner.params["student"], b.learner.params["student"], atol=1e-6)


def test_terms_are_named_after_the_points_and_each_is_the_hint_there():
    student, teacher = {"stage1": LOW, "stage2": HIGH}, {"stage1_block1": LOW, "stage2_block2": HIGH[:, ::-1]}
    objective = pursuhint_objective(layers=("stage1=stage1_block1", "stage2=stage2_block2"), factor=0.5)
    terms = objective.terms(look(student, teacher), {})
    assert not jnp.any(terms["attention_stage1_block1"])
    alone = at_objective(layers=("stage2=stage2_block2",)).terms(look(student, teacher), {})["attention"]
    assert jnp.array_equal(terms["attention_stage2_block2"], alone) and jnp.all(alone > 0)
    assert objective.weights == {"attention_stage1_block1": 500.0, "attention_stage2_block2": 500.0}


@pytest.mark.parametrize("hint", ["fitnet", partial(fitnet_objective, weight=100.0)])
def test_a_hint_of_one_layer_has_an_adapter_for_each_point(hint):
    seen = look({"stage1": LOW, "stage2": HIGH}, {"a": LOW, "b": HIGH})
    objective = pursuhint_objective(layers=("stage1=a", "stage2=b"), hint=hint)
    params, stats = objective.adapter.init(KEY, seen)
    adapted, _ = objective.adapter.apply(params, stats, seen, train=True)
    assert set(params) == {"0", "1"} and set(objective.terms(seen, adapted)) == {"hint_a", "hint_b"}
    assert objective.weights == {"hint_a": 100.0, "hint_b": 100.0}


@pytest.mark.parametrize("hint", ["nst", "vid"])
def test_other_hints(hint):
    seen = look({"stage1": LOW}, {"a": LOW})
    objective = pursuhint_objective(layers=("stage1=a",), hint=hint)
    adapted = objective.adapter.apply(*objective.adapter.init(KEY, seen), seen, train=True)[0] if objective.adapter else {}
    assert all(name.endswith("_a") for name in objective.terms(seen, adapted))


def test_the_defaults_and_refusals():
    assert defaults(methods.pursuhint) == {"label_weight": 1.0, "layers": (), "hint": "at", "factor": 1.0}
    with pytest.raises(InputError, match=r"^layers=\(\) is not accepted: .* evaluate.choose_hint_points finds"):
        pursuhint_objective()
    with pytest.raises(InputError, match="hint 'kd' is not known; accepted"):
        pursuhint_objective(layers=("stage1",), hint="kd")
    with pytest.raises(InputError, match="two objectives have a term 'attention_b'"):
        pursuhint_objective(layers=("stage1=b", "stage2=b"))
