import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, start
from own_lessons import KEY, seen_of, total
from tiny_nets import CLASSES, staged

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.recipes import combine, labels_objective, student
from kdjax.methods.self_distil.byot import byot_objective
from kdjax.methods.self_distil.sd_dropout import sd_dropout_objective
from kdjax.models import conv_net, exits


def test_golden_of_the_library(golden):
    """Its first exit and second map are the deepest."""
    g = golden("self_kd_lib/byot")
    options = {"exit_weight": 1.0, "weight": 1.0, "temperature": g["hp_temperature"].item(), "features": "mean"}
    objective = byot_objective(exits=None, feature_weight=g["hp_feature_weight"].item(), **options)  # pyright: ignore
    whole = combine(labels_objective(), objective)

    def loss(logits, *maps):
        taps = {"logits": logits[0], "stage1": maps[1]} | {f"exit{k}": z for k, z in enumerate(logits[1:], 1)}
        taps |= {f"exit{k}_map": f for k, f in enumerate((*maps[2:], maps[1]), 1)}  # the third has none: its own
        return total(whole, seen_of(taps, g["labels"]))

    seen = [g[f"f{k}"] for k in range(4)]
    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 3, 4)))(g["logits"], *seen)
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for name, gradient in zip(("logits", "f2", "f3"), gradients, strict=True):
        np.testing.assert_allclose(gradient, g[f"grad_{name}"], atol=1e-4 * np.abs(g[f"grad_{name}"]).max())


def test_golden_of_the_journal(golden):
    """Its soft cross-entropy is the divergence and a constant, so that the gradient is compared; no T^2."""
    g = golden("byot/train_step")
    alpha, t = g["hp_loss_coefficient"].item(), g["hp_temperature"].item()
    options = {"exit_weight": 1 - alpha, "weight": alpha / t**2, "temperature": t, "features": "norm"}
    objective = byot_objective(exits=None, feature_weight=g["hp_feature_loss_coefficient"].item(), **options)  # pyright: ignore
    whole = combine(labels_objective(), objective)

    def loss(logits, f2, f3, k2, b2, k3, b3):
        taps = {"logits": logits[0], "pooled": g["f0"]}
        taps |= {f"exit{k}": z for k, z in enumerate((logits[3], logits[2], logits[1]), 1)}
        adapted = {"exit1": f3 @ k3 + b3[None], "exit2": f2 @ k2 + b2[None]}
        return total(whole, seen_of(taps, g["labels"]), {"1": adapted})

    names = ("logits", "f2", "f3", "w_adapt2_kernel", "w_adapt2_bias", "w_adapt3_kernel", "w_adapt3_bias")
    gradients = jax.jit(jax.grad(loss, argnums=tuple(range(7))))(*(g[name] for name in names))
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, g[f"grad_{name}"], atol=1e-4 * np.abs(g[f"grad_{name}"]).max())


def test_the_distance_of_the_paper_is_squared_and_summed():
    rng = np.random.default_rng(0)
    deep, early = rng.normal(size=(2, 5, 7)).astype(np.float32)
    z = jnp.zeros((5, 3))
    objective = byot_objective(exits=None)  # pyright: ignore

    def loss(deep):
        seen = seen_of({"logits": z, "pooled": deep, "exit1": z, "exit1_pooled": early}, jnp.zeros(5, int))
        return jnp.mean(objective.terms(seen, {})["features"])

    np.testing.assert_allclose(loss(deep), ((early - deep) ** 2).sum(1).mean(), rtol=1e-5)
    assert not jax.grad(loss)(deep).any()


def test_without_imitation_it_is_deep_supervision():
    """The cross-entropies of all classifiers, of which one is the shipped one."""
    case = CASES["byot"](weight=0.0, feature_weight=0.0, exit_weight=0.5)
    state = start(case)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    net, heads = staged(), exits({"name": "conv_net", "classes": CLASSES})
    learner = state.learner

    def loss(params):
        taps, _ = net.apply(params["student"], learner.stats["student"], case.batch["image"], train=True)
        early, _ = heads.apply(params["heads"], learner.stats["heads"], taps, train=True)
        rows = jnp.arange(16), case.batch["label"]
        return -jnp.mean(jax.nn.log_softmax(taps["logits"])[rows] + 0.5 * jax.nn.log_softmax(early["exit1"])[rows])

    moved = jax.tree.map(lambda p, g: p - 0.1 * g, learner.params, jax.jit(jax.grad(loss))(learner.params))
    close(new.learner.params, moved, atol=1e-6)


@pytest.mark.parametrize("features", ["squared", "mean", "norm"])
def test_every_distance_trains_a_net_of_three_stages(features):
    spec = {"name": "conv_net", "widths": [3, 4, 5], "classes": CLASSES}
    method = methods.byot(conv_net((3, 4, 5), CLASSES), optax.sgd(0.1), exits=exits(spec), features=features)
    case = CASES["byot"]()._replace(method=method)
    _, metrics = jax.eval_shape(method.step, jax.eval_shape(method.init, KEY, case.batch, {}), case.batch, KEY)
    assert {"cross_entropy", "exits", "imitation", "features"} <= set(metrics)


def test_a_sum_with_another_objective():
    heads = exits({"name": "conv_net", "classes": CLASSES})
    whole = combine(labels_objective(), byot_objective(exits=heads), sd_dropout_objective())
    case = CASES["byot"]()._replace(method=student(staged(), optax.sgd(0.1), whole, name="network"))
    _, metrics = jax.jit(case.method.step)(start(case), case.batch, KEY)
    assert metrics["features"] > 0 and metrics["agreement"] > 0


def test_an_unknown_distance_is_refused():
    with pytest.raises(InputError, match=r"^features='l1' is not accepted: expected 'squared', 'mean' or 'norm'"):
        methods.byot(None, None, exits=None, features="l1")  # pyright: ignore


def test_a_net_of_one_stage_is_refused():
    case = CASES["byot"](net=conv_net((4,), CLASSES))
    with pytest.raises(InputError, match="of which this net has 1: expected 2 or more stages"):
        start(case)
