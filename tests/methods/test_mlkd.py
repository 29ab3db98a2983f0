import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LABELS, close, defaults, frozen, images, mlkd, small, start, student_of, supervised, without_batch_norm

from kdjax import methods
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
    close(student_of(a), (b.network.params, b.network.stats), atol=1e-6)


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


def test_standardised_predictions_do_not_see_the_size_of_the_teacher_s_logits():
    def louder(net):
        def apply(*args, **options):
            taps, stats = net.apply(*args, **options)
            return taps | {"logits": 5 * taps["logits"] + 1}, stats

        return Net(net.init, apply)

    def predictions(teacher, **options):
        case = mlkd(student=NET, teacher=teacher, **options)
        state = case.method.init(KEY, case.batch, {"teacher": frozen(NET)})
        return float(jax.jit(case.method.step)(state, case.batch, KEY)[1]["predictions"])

    assert predictions(louder(NET), standardised=True) == pytest.approx(predictions(NET, standardised=True), rel=1e-4)
    assert predictions(louder(NET)) != pytest.approx(predictions(NET), rel=0.1)


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
