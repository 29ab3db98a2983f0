"""Methods in the loops of other projects: each task in the lines that its user would write.

Elsewhere: all methods over devices in test_methods_contract.py, accumulation by `micro` there and in core/test_gradients.py.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax.training import dynamic_scale, train_state
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from kdjax import core, methods, models
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective, combine, each_teacher, labels_objective, student


class Mlp(nn.Module):
    width: int = 8
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="body")(x))
        return {"pooled": hidden, "logits": nn.Dense(3, dtype=self.dtype, name="head")(hidden)}


SGD = optax.sgd(0.1)
KEY, NET, BIG = jax.random.key(0), core.from_linen(Mlp()), core.from_linen(Mlp(16))
X = jax.random.normal(KEY, (24, 4))
BATCH = {"image": X, "label": jnp.argmax(X[:, :3], 1)}
GIVEN = {"teacher": core.Frozen(*BIG.init(jax.random.key(1), X))}


def trained(method, steps=12, batch=BATCH, given=GIVEN, **start):
    """The plain loop: the first and the last State, and the losses between."""
    state = first = method.init(KEY, batch, given, **start)
    step, found = jax.jit(method.step), []
    for k in range(steps):
        state, metrics = step(state, batch, jax.random.fold_in(KEY, k))
        found.append(metrics)
    return first, state, [float(m["loss"]) for m in found], found


def own(state):
    return core.learner_of(state).params["student"]


OPTIMISERS = {
    "muon": optax.contrib.muon(0.02),
    "plateau": optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau(patience=2)),
    "polyak": optax.polyak_sgd(max_learning_rate=1.0),
    "l-bfgs": optax.lbfgs(),
    "schedule-free": optax.contrib.schedule_free_adamw(0.1),
    "multi-steps": optax.MultiSteps(optax.adam(0.1), 2),
    "multi-steps of a plateau": optax.MultiSteps(optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau()), 2),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "frozen at first": core.freeze(optax.lbfgs(), ["adapter"], 2),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name):
    _, _, losses, _ = trained(methods.supervised(NET, OPTIMISERS[name]), given={})
    assert losses[-1] < 0.8 * losses[0]


def test_a_plateau_sees_the_loss():
    tx = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(patience=2, factor=0.5))
    _, state, _, _ = trained(methods.supervised(NET, tx), given={})
    assert optax.tree.get(state.learner.opt, "scale") == 0.5**5  # nothing moves: halved every other step


def test_scan():
    method = methods.kd(NET, BIG, optax.sgd(0.1))
    _, plain, losses, _ = trained(method, 3)
    first, keys = method.init(KEY, BATCH, GIVEN), jax.vmap(lambda k: jax.random.fold_in(KEY, k))(jnp.arange(3))
    scanned, metrics = jax.jit(lambda s: lax.scan(lambda s, key: method.step(s, BATCH, key), s, keys))(first)
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), own(scanned), own(plain))


@pytest.mark.parametrize("make", [methods.kd, methods.dist, methods.rkd])
def test_a_batch_over_two_axes_of_a_mesh(make):
    axes, tx = ("data", "model"), optax.sgd(0.1)
    mesh = jax.make_mesh((2, 2), axes, axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    state = make(NET, BIG, tx).init(KEY, BATCH, GIVEN)
    local = make(NET, BIG, tx, axis_name=axes).step
    spread = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P(axes), P()), out_specs=P()))(state, BATCH, KEY)
    alone = jax.jit(make(NET, BIG, tx).step)(state, BATCH, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), spread, alone)


def test_pmap():
    method, plain = (methods.kd(NET, BIG, SGD, axis_name=axis) for axis in ("data", None))
    first, rows = plain.init(KEY, BATCH, GIVEN), jax.tree.map(lambda x: x.reshape(2, 12, *x.shape[1:]), BATCH)
    spread = jax.pmap(method.step, "data", in_axes=(None, 0, None), out_axes=None, devices=jax.devices()[:2])(first, rows, KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), spread, jax.jit(plain.step)(first, BATCH, KEY)
    )


def test_freezing_a_layer():
    frozen = optax.masked(optax.set_to_zero(), lambda p: jax.tree_util.tree_map_with_path(lambda path, _: "body" in str(path), p))
    first, state, losses, _ = trained(methods.kd(NET, BIG, optax.chain(optax.sgd(0.5), frozen)))
    np.testing.assert_array_equal(own(state)["body"]["kernel"], own(first)["body"]["kernel"])
    assert losses[-1] < losses[0]


def test_a_warm_start_also_fills_what_the_optimiser_keeps():
    weights, method = NET.init(jax.random.key(7), X), methods.kd(NET, BIG, optax.contrib.schedule_free_sgd(0.1))
    first = method.init(KEY, BATCH, GIVEN, student=weights)
    jax.tree.map(np.testing.assert_array_equal, own(first), weights[0])
    jax.tree.map(np.testing.assert_array_equal, optax.tree.get(first.learner.opt, "z")["student"], weights[0])
    core.donating(method.step)(first, BATCH, KEY)
    assert not weights[0]["body"]["kernel"].is_deleted()


def test_views_start_from_a_network_and_its_copy_too():
    method = methods.byol(NET, models.linear_head(4), models.linear_head(4), optax.sgd(0.1), steps=10)
    weights = NET.init(jax.random.key(7), X)
    state = method.init(KEY, {"views": (X, X)}, {}, encoder=weights)
    jax.tree.map(np.testing.assert_array_equal, (state.online.params["encoder"], state.target.params["encoder"]), (weights[0],) * 2)


def pull(weight, start):
    """L2-SP: half the squared way from where the student started."""

    def terms(seen, adapted):
        way = jax.tree.map(lambda p, q: jnp.sum((p - q) ** 2), seen.params, start)
        return {"way": sum(jax.tree.leaves(way)) / 2}

    return Objective(terms, {"way": weight}, needs=())


def test_a_term_of_the_parameters():
    start = NET.init(jax.random.key(7), X)
    runs = [
        trained(student(NET, optax.sgd(0.1), combine(labels_objective(), pull(w, start[0]))), 40, given={}, student=start)
        for w in (0.01, 10.0)
    ]
    loose, held = (float(optax.tree.norm(optax.tree.sub(own(run[1]), start[0]))) for run in runs)
    assert held < 0.2 * loose and held > 0


def test_weights_of_the_step():
    """A schedule of optax, and the mean of two teachers with it."""
    twice = models.ensemble([BIG, BIG])
    given = {"teacher": core.Frozen(*twice.init(KEY, X))}
    objective = each_teacher(kd_objective(weight=optax.linear_schedule(0.0, 2.0, 4)), 2)
    _, _, losses, found = trained(student(NET, optax.sgd(0.0), objective, teacher=twice), 6, given=given)
    apart = [sum(m[f"distillation_teacher{k}"] for k in (0, 1)) / 2 for m in found]
    np.testing.assert_allclose(losses, [w * x for w, x in zip((0, 0.5, 1, 1.5, 2, 2), apart, strict=True)], rtol=1e-5)


def test_another_trainer_owns_parameters_optimiser_and_loss_scale():
    """Flax's TrainState and DynamicScale; `tx` of the method is never asked."""
    method, tx = methods.kd(NET, BIG, optax.identity()), optax.adam(0.1)
    state, scale = method.init(KEY, BATCH, GIVEN), dynamic_scale.DynamicScale(scale=2.0**10)
    theirs = train_state.TrainState.create(apply_fn=None, params=core.learner_of(state).params, tx=tx)

    @jax.jit
    def step(scale, theirs, state, key):
        scale, _, (_, (kept, _)), gradient = scale.value_and_grad(method.loss, has_aux=True)(theirs.params, state, BATCH, key)
        theirs = theirs.apply_gradients(grads=gradient)
        return scale, theirs, method.update(state, theirs.params, kept)

    for k in range(3):
        scale, theirs, state = step(scale, theirs, state, jax.random.fold_in(KEY, k))
    _, wanted, _, _ = trained(methods.kd(NET, BIG, tx), 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), own(state), own(wanted))
    assert state.step == 3


def test_mixed_precision():
    """Products in bfloat16 over parameters in float32."""
    half = core.from_linen(Mlp(dtype=jnp.bfloat16))
    _, state, losses, found = trained(methods.kd(half, BIG, optax.adam(0.1)))
    assert losses[-1] < losses[0] and own(state)["body"]["kernel"].dtype == found[0]["loss"].dtype == jnp.float32


def test_norms_on_request():
    _, _, _, found = trained(methods.kd(NET, BIG, core.with_norms(optax.sgd(0.1))), 2)
    assert float(found[0]["update_norm"]) == pytest.approx(0.1 * float(found[0]["gradient_norm"]), rel=1e-5)
    assert "gradient_norm" not in trained(methods.kd(NET, BIG, optax.sgd(0.1)), 1)[3][0]


def test_orbax(tmp_path):
    method = core.averaged(methods.kd(NET, BIG, optax.adam(0.1)), 0.9)
    _, state, _, _ = trained(method, 2)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        back = checkpointer.restore(tmp_path / "state", jax.eval_shape(method.init, KEY, BATCH, GIVEN))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, back, state)


def test_numpy_batches_and_half_labelled_and_unlabelled_ones():
    arrays = {"image": np.asarray(X), "label": np.where(np.arange(24) < 12, BATCH["label"], -1)}
    method = methods.kd(NET, BIG, optax.sgd(0.0), label_weight=0.5)
    (_, _, whole, _), (_, _, half, some), (_, _, none, found) = (trained(method, 1, b) for b in (BATCH, arrays, {"image": X}))
    assert len({*whole, *half, *none}) == 3 and float(found[0]["cross_entropy"]) == 0
    np.testing.assert_allclose(half[0] - none[0], 0.5 * some[0]["cross_entropy"], rtol=1e-4)


def test_any_inputs():
    """A net of two arrays, in a batch of somebody else's names."""

    class Two(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return nn.Dense(3)(inputs["ids"]) * inputs["mask"]

    batch = {"inputs": {"ids": X, "mask": jnp.ones((24, 1))}, "label": BATCH["label"]}
    assert len(trained(methods.supervised(core.from_linen(Two()), optax.sgd(0.1)), 1, batch, {})[2]) == 1


def stepped(method, batch=BATCH, given=GIVEN, first=BATCH):
    method.step(method.init(KEY, first, given), batch, KEY)


def net(apply):
    return core.Net(NET.init, apply)


def unlike(apply):
    return lambda: stepped(methods.kd(net(apply), BIG, SGD))


PLAIN, PEERS, VIEWS = (
    methods.kd(NET, BIG, SGD),
    methods.dml([NET, NET], SGD),
    methods.simsiam(NET, *[models.linear_head(4)] * 2, SGD),
)
FIXED = core.Method(lambda key, batch, given: {}, PLAIN.step, PLAIN.predict, PLAIN.weights)
ONE_HOT = BATCH | {"label": jnp.eye(3, dtype=int)[BATCH["label"]]}
WRONG = {
    "no image": (lambda: PLAIN.init(KEY, {"pixels": X}, GIVEN), r"no image, tokens or inputs .* has pixels"),
    "no views": (lambda: VIEWS.init(KEY, BATCH, {}), r"the batch has no 'views'"),
    "a pair": (lambda: PLAIN.init(KEY, (X, X), GIVEN), r"a batch of type tuple is not accepted"),
    "channels first": (lambda: PLAIN.init(KEY, {"image": jnp.ones((2, 3, 16, 16))}, GIVEN), r"expected \[B, H, W, C\]"),
    "no teacher": (lambda: PLAIN.init(KEY, BATCH, {}), r"given\['teacher'\] is not there: given holds nothing"),
    "a tuple": (lambda: PLAIN.init(KEY, BATCH, {"teacher": BIG.init(KEY, X)}), r"\['teacher'\] is of type tuple.* core\.Frozen"),
    "no logits": (
        unlike(lambda p, s, x, *, train, key=None: ({"out": x}, s)),
        r"asks for 'logits', which is not there; there are student: out; teacher: pooled, logits",
    ),
    "an array": (unlike(lambda p, s, x, *, train, key=None: x), r"returned an array of shape \(24, 4\): expected \(taps, stats\)"),
    "logits and extras": (unlike(lambda p, s, x, *, train, key=None: ((x, {}), s)), r"returned a tuple of 2 for its taps"),
    "no key": (lambda: net(lambda p, s, x, *, train: ({}, s)), r"takes no 'key'"),
    "a rate": (lambda: methods.kd(NET, BIG, 0.1), r"tx=0.1 is not accepted"),
    "a rate for peers": (lambda: methods.dml([NET, NET], 0.1).init(KEY, BATCH, {}), r"tx=0.1 is not accepted"),
    "a rate for pixels": (
        lambda: methods.deep_inversion(NET, BIG, SGD, 0.1, shape=(8, 8, 3), classes=3),
        r"tx=0.1 is not accepted",
    ),
    "a rate for a part": (lambda: core.freeze(core.by_part(SGD, head=0.1), ["head"], 2), r"tx=0.1 is not accepted"),
    "a rate beside images": (lambda: methods.tst(NET, BIG, 0.1, steps_per_epoch=2, epochs=240), r"tx=0.1 is not accepted"),
    "one-hot in whole numbers": (lambda: stepped(PLAIN, ONE_HOT), r"label has whole numbers of shape \(24, 3\): expected classes"),
    "another name": (lambda: stepped(PLAIN, {"image": X, "labels": BATCH["label"]}), r"no 'label' but image, labels"),
    "labels alone": (lambda: stepped(methods.supervised(NET, SGD), {"image": X}, {}), r"asks for 'label', which is not there"),
    "a start of nobody": (
        lambda: PEERS.init(KEY, BATCH, {}, peer2=NET.init(KEY, X)),
        r"network 'peer2' is not known",
    ),
    "a start": (lambda: FIXED.init(KEY, BATCH, {}, student=NET.init(KEY, X)), r"student=\.\.\. is not accepted"),
    "no single loss": (lambda: PEERS.loss({}, {}, BATCH, KEY), r"this method has no single loss"),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_line_for(name):
    wrong, line = WRONG[name]
    with pytest.raises(core.InputError, match=line) as caught:
        wrong()
    assert "\n" not in str(caught.value)
