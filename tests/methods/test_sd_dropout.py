import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, start
from own_lessons import KEY, learns_as_supervised, seen_of, total
from tiny_nets import without_batch_norm

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective, student
from kdjax.methods.self_distil.cs_kd import cs_kd_objective
from kdjax.methods.self_distil.sd_dropout import sd_dropout_objective

RNG = np.random.default_rng(0)
LAYER = {"kernel": RNG.normal(size=(64, 5)).astype(np.float32), "bias": RNG.normal(size=5).astype(np.float32)}
POOLED = RNG.normal(size=(16, 64)).astype(np.float32)


def seen(pooled=POOLED, layer=LAYER, key=KEY):
    index = {"index": jnp.arange(len(pooled))}
    return seen_of({"pooled": pooled}, batch=index, params={"classifier": layer}, key=key)


def test_nothing_dropped_is_supervised_training():
    learns_as_supervised(CASES["sd_dropout"](rate=0.0))
    assert total(sd_dropout_objective(rate=0.0), seen()) == 0


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_each_mask_drops_as_told(rate):
    """Only features that one of two masks keeps have a gradient."""

    def probe(pooled):
        objective = sd_dropout_objective(rate=rate, temperature=1.0)
        return total(objective, seen(pooled, {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}))

    ones = jnp.ones((400, 64))
    gradient = jax.grad(probe)(ones)
    assert abs(np.mean(gradient != 0) - (1 - rate**2)) < 0.01


def test_masks_are_those_of_the_image_and_of_the_step():
    objective = sd_dropout_objective()
    each = lambda **options: objective.terms(seen(**options), {})["agreement"]  # noqa: E731
    whole, swapped = each(), objective.terms(seen(POOLED[::-1]).replace(batch={"index": jnp.arange(16)[::-1]}), {})["agreement"]
    np.testing.assert_allclose(swapped[::-1], whole, rtol=1e-5)
    assert not np.allclose(each(key=jax.random.key(9)), whole, rtol=1e-3)
    assert (whole > 0).all()


def test_gradients_reach_features_and_layer_from_both_sides():
    loss = lambda through: lambda layer, pooled: total(sd_dropout_objective(through=through), seen(pooled, layer))  # noqa: E731
    both, first, second = (jax.grad(loss(through), argnums=(0, 1))(LAYER, POOLED) for through in ("both", "first", "second"))
    for a, b, c in zip(*map(jax.tree.leaves, (both, first, second)), strict=True):
        np.testing.assert_allclose(a, b + c, atol=1e-4 * np.abs(a).max())
        assert b.any() and c.any()


def test_a_sum_with_another_objective():
    """`cs_kd+sd_dropout`, on the anchors of pairs."""
    net = CASES["cs_kd"]().nets["network"]
    whole = combine(labels_objective(), cs_kd_objective(), sd_dropout_objective())
    method = student(net, optax.sgd(0.1), whole, name="network")
    case = CASES["cs_kd"]()._replace(method=method)
    _, metrics = jax.jit(method.step)(start(case), case.batch, KEY)
    assert {"cross_entropy", "class_wise", "agreement"} <= set(metrics) and metrics["agreement"] > 0


def test_a_net_without_a_linear_layer_is_refused():
    case = CASES["sd_dropout"](net=without_batch_norm())
    with pytest.raises(InputError, match=r"^the network has no linear layer 'classifier'"):
        jax.eval_shape(case.method.step, start(case), case.batch, KEY)


@pytest.mark.parametrize("rate", [1, 1.0, -0.1])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(InputError, match=rf"^rate={rate} is not accepted: expected a number from 0 to below 1"):
        methods.sd_dropout(None, None, rate=rate)  # pyright: ignore
