import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, defaults, mlkd, start, student_of, supervised
from tiny_nets import LABELS, images, small, without_batch_norm

from kdjax import losses, methods
from kdjax.core import Frozen, InputError, Net

KEY = jax.random.key(5)
NET = without_batch_norm()


def reader(columns):
    """A net whose images hold its logits, to which it adds its one parameter."""

    def apply(params, stats, x, *, train, key=None):
        return {"logits": x[:, columns] + params["kernel"]}, stats

    return Net(lambda key, x: ({"kernel": jnp.zeros_like(x[:, columns])}, {}), apply)


def test_golden_through_a_step(golden):
    g = golden("mlkd/forward_train")
    views = tuple(jnp.concatenate([g[f"logits_{side}_{view}"] for side in "st"], -1) for view in ("weak", "strong"))
    method = methods.mlkd(
        reader(slice(0, 10)), reader(slice(10, 20)), optax.sgd(1.0),
        label_weight=float(g["hp_ce_weight"]), weight=float(g["hp_kd_weight"]), temperature=float(g["hp_temperature"]),
    )  # fmt: skip
    batch = {"views": views, "label": jnp.asarray(g["labels"]), "index": jnp.arange(6)}
    state = method.init(KEY, batch, {"teacher": Frozen({"kernel": jnp.zeros((6, 10))}, {})})
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    np.testing.assert_allclose(metrics["loss"], g["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["cross_entropy"], g["loss_ce"], rtol=1e-5)
    for name, part in (("predictions", "kd"), ("classes", "cc"), ("images", "bc")):
        np.testing.assert_allclose(9 * metrics[name], g[f"loss_{part}"], rtol=1e-5)
    slope = g["grad_logits_s_weak"] + g["grad_logits_s_strong"]
    np.testing.assert_allclose(-new.learner.params["student"]["kernel"], slope, rtol=0, atol=1e-4 * np.abs(slope).max())


def test_without_distillation_it_is_supervised_training_on_both_views():
    both, plain = mlkd(student=NET, weight=0.0, label_weight=1.0, tx=optax.sgd(0.5)), supervised(net=NET, tx=optax.sgd(1.0))
    a, b = start(both), start(plain)
    batch = {"image": jnp.concatenate(both.batch["views"]), "label": jnp.tile(LABELS, 2)}
    for _ in range(2):
        (a, _), (b, _) = jax.jit(both.method.step)(a, both.batch, KEY), jax.jit(plain.method.step)(b, batch, KEY)
    close(student_of(a), student_of(b), atol=1e-6)


def test_the_views_are_seen_one_after_the_other():
    """Running averages move twice, by each view's own statistics."""
    net = small()
    case = mlkd(student=net, teacher=small(width=6), tx=optax.sgd(0.0))
    state = start(case)
    params, stats = student_of(state)
    for view in case.batch["views"]:
        _, stats = net.apply(params, stats, view, train=True)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    close(student_of(new)[1], stats, atol=1e-6)


def test_each_part_has_its_logits_its_temperature_and_its_mask():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 10)), jnp.float32)  # student weak, strong, teacher weak, strong
    nets = reader(slice(0, 10)), reader(slice(10, 20))
    method = methods.mlkd(*nets, optax.sgd(1.0), temperature=2.5, per_row=True, standardised=True)
    views = tuple(jnp.concatenate([z[k], z[k + 2]], -1) for k in range(2))
    batch = {"views": views, "label": jnp.arange(6), "index": jnp.arange(6)}
    state = method.init(KEY, batch, {"teacher": Frozen({"kernel": jnp.zeros((6, 10))}, {})})
    _, metrics = jax.jit(method.step)(state, batch, KEY)
    wanted = jax.jit(lambda z, weights: losses.multi_level(*z, temperature=2.5, per_row=True, **weights))
    levels = {"predictions": "instance", "classes": "class", "images": "batch"}
    for name, level in levels.items():
        weights = {f"{other}_weight": float(other == level) for other in levels.values()}
        logits = [losses.standardise(x) for x in z] if level == "instance" else list(z)
        np.testing.assert_allclose(metrics[name], wanted(logits, weights), rtol=1e-4)


def test_each_view_has_a_key_of_its_own():
    def apply(params, stats, x, *, train, key=None):
        drawn = jax.random.uniform(key) if train else 0.0
        return {"logits": x[:, :10] + params["kernel"]}, {"before": stats["now"], "now": jnp.float32(drawn)}

    net = Net(lambda key, x: ({"kernel": jnp.zeros((1, 10))}, {"before": jnp.float32(0), "now": jnp.float32(0)}), apply)
    batch = {"views": (jnp.zeros((6, 10)),) * 2, "label": jnp.arange(6), "index": jnp.arange(6)}
    method = methods.mlkd(net, reader(slice(0, 10)), optax.sgd(1.0))
    state = method.init(KEY, batch, {"teacher": Frozen({"kernel": jnp.zeros((6, 10))}, {})})
    drawn = student_of(jax.jit(method.step)(state, batch, KEY)[0])[1]
    assert drawn["before"] != drawn["now"] and drawn["before"] > 0


def test_a_batch_without_two_views_and_micro_batches_are_refused():
    case = mlkd(student=NET, teacher=NET)
    with pytest.raises(InputError, match=r"needs two views .* the batch holds image, label"):
        case.method.init(KEY, {"image": images(), "label": LABELS}, case.given)
    micro = mlkd(student=NET, teacher=NET, micro=2)
    with pytest.raises(InputError, match=r"micro=2 .* couples the rows"):
        jax.eval_shape(micro.method.step, start(micro), micro.batch, KEY)


def test_the_defaults_are_the_code_s():
    assert defaults(methods.mlkd) == {
        "label_weight": 0.1, "weight": 0.9, "temperature": 4.0, "per_row": False, "standardised": False,
    }  # fmt: skip
