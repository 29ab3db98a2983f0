import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, defaults, look, start, student_of, supervised
from tiny_nets import staged

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.fitnet import fitnet_objective

KEY = jax.random.key(5)


def test_without_hint_it_is_supervised_training():
    hinted, plain = CASES["fitnet"](weight=0.0), supervised(net=staged(), tx=optax.sgd(0.05))
    a, b = start(hinted), start(plain)
    for _ in range(2):
        (a, _), (b, _) = jax.jit(hinted.method.step)(a, hinted.batch, KEY), jax.jit(plain.method.step)(b, plain.batch, KEY)
    close(student_of(a), student_of(b), atol=1e-7)


def test_golden_through_the_regressor(golden):
    g = golden("repdistiller/hint_convreg")
    objective = fitnet_objective()
    params = {
        "conv": {"kernel": g["w_conv_kernel"], "bias": g["w_conv_bias"]},
        "bn": {"scale": g["w_bn_scale"], "bias": g["w_bn_bias"]},
    }

    def look_at(student):
        return look({"stage2": student}, {"stage2": jnp.asarray(g["f_t"])})

    _, stats = objective.adapter.init(KEY, look_at(jnp.asarray(g["f_s"])))

    def loss(student):
        seen = look_at(student)
        adapted, _ = objective.adapter.apply({"Connector_0": params}, stats, seen, train=True)
        return jnp.mean(objective.terms(seen, adapted)["hint"])

    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.asarray(g["f_s"]))
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(slope, g["grad_f_s"], rtol=0, atol=1e-4 * np.abs(g["grad_f_s"]).max())


def test_the_hint_is_of_the_named_layer():
    narrow, wide = jnp.ones((2, 4, 4, 3)), jnp.ones((2, 4, 4, 5))
    seen = look({"stage1": narrow, "stage2": wide}, {"stage1": wide, "stage2": wide})
    params, _ = fitnet_objective(layer="stage1").adapter.init(KEY, seen)
    assert params["Connector_0"]["conv"]["kernel"].shape == (1, 1, 3, 5)
    with pytest.raises(InputError, match="tap 'stage3' is not one of the student's; it has stage1, stage2"):
        fitnet_objective(layer="stage3").adapter.init(KEY, seen)


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.fitnet) == {"label_weight": 1.0, "weight": 100.0, "layer": "stage2"}
    assert defaults(methods.fitnet_hint) == {"weight": 100.0, "layer": "stage2"}
