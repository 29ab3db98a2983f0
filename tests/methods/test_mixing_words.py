"""Any method on mixed images and labels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, start
from jax.sharding import PartitionSpec as P
from tiny_nets import CLASSES, labelled_images, small, staged

from kdjax import augment, core, losses, methods, models
from kdjax.core import InputError, jit_fast_compile
from kdjax.methods.recipes import mixed

KEY, BATCH = jax.random.key(5), labelled_images()
INSIDE = partial(augment.manifold_mixup, deepest=1)


def whole(method):
    return mixed(method, augment.mixup, classes=CLASSES)


def test_a_step_goes_down_the_loss_of_mixed_images_and_labels():
    """In the authors' form: a share of the loss with each of the two labels."""
    net = small()
    method = methods.supervised(net, optax.sgd(0.5))
    state = jit_fast_compile(method.init)(KEY, BATCH, {})
    new, metrics = jit_fast_compile(mixed(method, augment.mixup, classes=CLASSES).step)(state, BATCH, KEY)
    hot = jax.nn.one_hot(BATCH["label"], CLASSES)
    made, mixture = augment.mixup(jax.random.fold_in(KEY, 2**30), BATCH["image"], hot)
    lam = float(jnp.sort(mixture, axis=1)[:, -1].min())
    lam = lam if np.allclose(jnp.sum(mixture * hot, axis=1).min(), lam) else 1 - lam
    partner = jnp.where(
        mixture.max(1) > 0.999, BATCH["label"], jnp.argmax(mixture * (1 - hot), axis=1)
    )  # the class, which is enough

    def loss(params):
        logits = net.apply(params, state.learner.stats["student"], made, train=True)[0]["logits"]
        both = (losses.cross_entropy(logits, y) for y in (BATCH["label"], partner))
        return jnp.mean(sum(w * x for w, x in zip((lam, 1 - lam), both, strict=True)))

    value, gradient = jit_fast_compile(jax.value_and_grad(loss))(state.learner.params["student"])
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    wanted = jax.tree.map(lambda p, g: p - 0.5 * g, state.learner.params["student"], gradient)
    close(new.learner.params["student"], wanted, atol=1e-5)


def test_the_loss_that_other_trainers_take_is_of_mixed_images_too():
    method = whole(methods.supervised(small(), optax.sgd(0.5)))
    state = jit_fast_compile(method.init)(KEY, BATCH, {})
    both = lambda state: (method.loss(core.learner_of(state).params, state, BATCH, KEY)[0], method.step(state, BATCH, KEY)[1])  # noqa: E731
    value, metrics = jit_fast_compile(both)(state)
    np.testing.assert_allclose(value, metrics["loss"], rtol=1e-6)


@pytest.mark.parametrize("mix", [partial(augment.cutmix, per_row=True), INSIDE])
def test_a_step_over_devices_is_the_same_step(mix):
    def make(axis_name=None):
        net = models.mixing_inside(staged(axis_name), axis_name=axis_name)
        return mixed(methods.supervised(net, optax.sgd(0.5), axis_name=axis_name), mix, classes=CLASSES, axis_name=axis_name)

    state = jit_fast_compile(make().init)(KEY, BATCH, {})
    expected, metrics = jit_fast_compile(make().step)(state, BATCH, KEY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(make("data").step, mesh=mesh, in_specs=(P(), P("data"), P()), out_specs=P())
    new, logged = jit_fast_compile(mapped)(state, BATCH, KEY)
    close(new, expected, rtol=1e-6, atol=1e-6)
    close(logged, metrics, rtol=1e-6, atol=1e-5)


def test_peers_see_one_mixture():
    case = CASES["dml"]()
    new, metrics = jit_fast_compile(whole(case.method).step)(start(case), case.batch, KEY)
    assert all(np.isfinite(x) for x in metrics.values()) and new.step == 1


def test_what_cannot_be_mixed_is_refused():
    for case, said in ((CASES["mlkd"](), "with views"), (CASES["kd"](), "computed before")):
        batch = case.batch if "views" in case.batch else case.batch | {"teacher": {"logits": jnp.zeros((16, CLASSES))}}
        with pytest.raises(InputError, match=said):
            jax.eval_shape(whole(case.method).step, start(case), batch, KEY)
