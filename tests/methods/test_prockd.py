import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, defaults, equal, offline, on, start, student_of, supervised, transformer
from tiny_nets import frozen, labelled_images, staged, without_batch_norm

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline._tokens import Places
from kdjax.methods.offline.prockd import _Prototypes
from kdjax.models import conv_net, vit

KEY = jax.random.key(5)
NOTHING = {"enriched": 0.0, "agreement": 0.0, "hidden": 0.0, "prototype": 0.0}
OPTIONS = {"steps": 2, "warmup": 0.0, "prototypes": 3}


def once(case, state=None):
    return jax.jit(case.method.step)(start(case) if state is None else state, case.batch, KEY)


def test_without_its_terms_it_is_supervised_training():
    case, plain = CASES["proc_kd"](**NOTHING), supervised(net=staged(), tx=optax.sgd(0.05))
    (a, _), (b, _) = once(case), once(plain)
    close(student_of(a), student_of(b), atol=1e-6)


def test_in_the_first_phase_the_teacher_s_features_train_the_prototypes_and_the_linear_layer():
    case = CASES["proc_kd"](steps=20, warmup=0.1)
    state = start(case)
    new, metrics = once(case, state)
    assert {name: float(metrics[name]) for name in metrics if name not in ("loss", "prototype")} == {
        "cross_entropy": 0.0, "enriched": 0.0, "agreement": 0.0, "hidden": 0.0,
    }  # fmt: skip
    (before, after) = (s.learner.params for s in (state, new))
    body = {name for name in before["student"] if name != "classifier"}
    assert all(equal(before["student"][name], after["student"][name]) for name in body)
    assert not equal(before["student"]["classifier"], after["student"]["classifier"])
    assert not equal(before["adapter"]["prototypes"]["prototypes"], after["adapter"]["prototypes"]["prototypes"])
    _, metrics = once(case, new._replace(step=jnp.int32(2)))
    assert all(metrics[name] > 0 for name in metrics)


def test_the_terms_are_those_of_its_description():
    """A student of two stages before a teacher of two blocks, 2x2 patches and a class token."""
    weights = {"cross_entropy": 2.0, "enriched": 3.0, "agreement": 4.0, "hidden": 5.0, "prototype": 6.0}
    case = CASES["proc_kd"](**{"label_weight" if name == "cross_entropy" else name: w for name, w in weights.items()})
    state, teacher, x = start(case), case.given["teacher"], case.batch["image"]
    guide, module = state.learner.params["adapter"], _Prototypes(3, 6)
    s, _ = case.nets["student"].apply(*student_of(state), x, train=True)
    t, _ = case.nets["teacher"].apply(teacher.params, teacher.stats, x, train=False)

    def linear(x, layer):
        return np.asarray(x) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])

    def enriched(x, extra, grid):
        pooled = module.apply({"params": guide["prototypes"]}, x, Places(x, extra, grid))
        return linear(pooled, state.learner.params["student"]["classifier"])

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-2)

    def log_softmax(z):
        return np.asarray(jax.nn.log_softmax(z))

    local = np.maximum(linear(jnp.concatenate([t["block1"], t["block2"]], -1), guide["teacher"]), 0)
    z_t = enriched(module.apply({"params": guide["prototypes"]}, local, method="of_teacher"), 1, (2, 2))
    z_a, z = log_softmax(enriched(s["stage2"].reshape(16, 16, 6), 0, (4, 4))), log_softmax(s["logits"])
    apart = []
    for k in (0, 1):
        small = jax.image.resize(s[f"stage{k + 1}"], (16, 2, 2, (4, 6)[k]), "linear")
        theirs = np.asarray(t[f"block{k + 1}"])[:, 1:].reshape(16, 2, 2, 8)
        apart.append(np.square(norm(linear(small, guide[f"hidden{k}"])) - norm(theirs)).mean())
    right = np.arange(16), np.asarray(case.batch["label"])
    wanted = {
        "cross_entropy": -z[right].mean(), "enriched": -z_a[right].mean(), "agreement": (np.exp(z_a) * (z_a - z)).sum(-1).mean(),
        "hidden": np.mean(apart), "prototype": -log_softmax(z_t)[right].mean(),
    }  # fmt: skip
    _, metrics = once(case, state)
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(metrics["loss"], sum(weights[name] * metrics[name] for name in weights), rtol=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        (staged(), conv_net((4, 6, 5), 7), ()),
        (transformer(), conv_net((4, 6), 7), ("block1=stage2", "block2=stage2")),
        (transformer(), vit(4, 12, 3, 2, 7, distillation=True), ()),
    ],
)
def test_any_two_nets_and_other_classes(student, teacher, layers):
    method = methods.proc_kd(student, teacher, optax.sgd(0.05), layers=layers, **OPTIONS)
    batch = labelled_images()
    state = jax.eval_shape(method.init, KEY, batch, {"teacher": frozen(teacher)})
    _, metrics = jax.eval_shape(method.step, state, batch, KEY)
    assert set(metrics) == {"cross_entropy", "enriched", "agreement", "hidden", "prototype", "loss"}


def test_a_student_that_is_its_teacher_hides_nothing():
    case = on(transformer, transformer, offline(methods.proc_kd, **OPTIONS))()
    state = start(case)
    params = case.given["teacher"].params
    same = state._replace(learner=state.learner.replace(params=state.learner.params | {"student": params}))
    assert once(case, same)[1]["hidden"] < 1e-9 < once(case, state)[1]["hidden"]


def test_prototypes_against_numpy():
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    module = _Prototypes(3, 4)
    like = Places(jnp.asarray(x, jnp.float32), 1, (2, 2))

    def both(module, x):
        return module.of_teacher(x), module(x, like)

    params = module.init(KEY, like.x, method=both)["params"]
    joined, enriched = module.apply({"params": params}, like.x, method=both)

    def linear(x, layer):
        return x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])

    def softmax(x):
        e = np.exp(x)
        return e / e.sum(-1, keepdims=True)

    def two(x, layers):
        return np.maximum(linear(np.maximum(linear(x, layers["Dense_0"]), 0), layers["Dense_1"]), 0)

    def length(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    p, unit = np.float64(params["prototypes"]), length(x)
    share = softmax(linear(unit, params["assign"]))
    residual = np.stack([[sum(share[b, n, k] * (unit[b, n] - p[k]) for n in range(5)) for k in range(3)] for b in range(2)])
    whole = linear(length(length(residual).reshape(2, 12)), params["pool"])
    np.testing.assert_allclose(joined, two(np.concatenate([x, np.repeat(whole[:, None], 5, 1)], -1), params["join"]), atol=1e-5)
    e, pe = linear(x, params["embed"]), linear(p, params["embed"])
    added = two(np.concatenate([e, softmax(e @ pe.T) @ pe], -1), params["enrich"])
    y = np.maximum(x + added, 0)
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-2)
    np.testing.assert_allclose(enriched, y[:, 0], atol=1e-4)  # the class token
    mean = module.apply({"params": params}, like.x, like._replace(extra=0))
    np.testing.assert_allclose(mean, y.mean(1), atol=1e-4)


def test_the_defaults_and_refusals():
    assert defaults(methods.proc_kd) == {
        "steps": defaults(methods.proc_kd)["steps"], "label_weight": 1.0, "enriched": 1.0, "agreement": 1.0,
        "hidden": 1.0, "prototype": 1.0, "prototypes": 72, "warmup": 0.1, "layers": (),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"^prototypes=0"):
        CASES["proc_kd"](prototypes=0)
    with pytest.raises(InputError, match=r"^warmup=1.0"):
        CASES["proc_kd"](warmup=1.0)
    method = methods.proc_kd(without_batch_norm(), staged(), optax.sgd(0.1), layers=("pooled=stage1",), **OPTIONS)
    with pytest.raises(InputError, match="the student has no linear layer 'classifier'"):
        jax.eval_shape(method.init, KEY, labelled_images(), {"teacher": frozen(staged())})
