from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, kd, pixel, start, student_of
from tiny_nets import staged

from kdjax import methods
from kdjax.core import InputError, Net, jit_fast_compile
from kdjax.models import shrink

KEY = jax.random.key(5)
OFF = {"reconstruction": 0.0, "feature_weight": 0.0}


def test_without_its_own_terms_on_whole_images_it_is_kd():
    ours, wanted = pixel(factor=1, **OFF), kd(net=staged(), tx=optax.sgd(0.05))
    method = methods.kd(staged(), staged(width=6), optax.sgd(0.05))
    a, b = start(ours), jit_fast_compile(method.init)(jax.random.key(0), wanted.batch, ours.given)
    close(student_of(a), student_of(b))
    a, logged = jax.jit(ours.method.step)(a, ours.batch, KEY)
    b, metrics = jax.jit(method.step)(b, ours.batch, KEY)
    close(student_of(a), student_of(b), atol=1e-6)
    assert metrics["distillation"] == pytest.approx(float(logged["distillation"]), rel=1e-5)
    small = pixel(factor=2, **OFF)
    _, other = jax.jit(small.method.step)(start(small), small.batch, KEY)
    assert not np.isclose(other["distillation"], logged["distillation"])


def heads_image(state, case, mean=0.5, std=0.25):
    """What the head makes, normalised and as an image: `(x_sr, x_sr in [0, 1] or so, x normalised)`."""
    images = case.batch["image"]
    taps, _ = case.nets["student"].apply(*student_of(state), images, train=True)
    params = state.learner.params["adapter"]["2"]["head"]
    linear = np.asarray(taps["stem"]) @ np.asarray(params["conv"]["kernel"])[0, 0]
    # 4x4 of 4 channels to 8x8 of one: channel i 2 + j to row i, column j.
    linear = linear.reshape(16, 4, 4, 2, 2).transpose(0, 1, 3, 2, 4).reshape(16, 8, 8, 1)
    made = np.where(linear > 0, linear, 0.25 * linear)
    return made, made * std + mean, (np.asarray(images) - mean) / std


def test_the_terms_are_the_paper_s():
    case = pixel(reconstruction=3.0, feature_weight=2.0)
    state, teacher = start(case), case.given["teacher"]
    made, image, wanted = heads_image(state, case)
    net = case.nets["teacher"]
    features = [
        net.apply(teacher.params, teacher.stats, x, train=False)[0]["stem"] for x in (jnp.asarray(image), case.batch["image"])
    ]
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    np.testing.assert_allclose(metrics["reconstruction"], np.abs(made - wanted).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["features"], np.square(features[0] - features[1]).mean(), rtol=1e-4)
    parts = {"cross_entropy": 0.1, "distillation": 0.9, "reconstruction": 3.0, "features": 2.0}
    np.testing.assert_allclose(metrics["loss"], sum(w * metrics[k] for k, w in parts.items()), rtol=1e-5)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.learner.params["adapter"], new.learner.params["adapter"])
    assert all(jax.tree.leaves(moved))


def test_the_teacher_sees_both_images_in_evaluation_mode():
    modes, net = [], staged(width=6)

    def apply(params, stats, x, *, train, key=None):
        modes.append(train)
        return net.apply(params, stats, x, train=train, key=key)

    case = pixel(teacher=Net(net.init, apply))
    state = jax.eval_shape(case.method.init, KEY, case.batch, case.given)
    modes.clear()
    jax.eval_shape(case.method.step, state, case.batch, KEY)
    assert modes == [False, False]


def test_the_head_learns_to_make_the_image():
    """Down to less than a flat image of the mean is off."""
    case = pixel(feature_weight=0.0, reconstruction=10.0, tx=optax.adam(0.02))
    state, step = start(case), jax.jit(case.method.step)
    for k in range(60):
        state, metrics = step(state, case.batch, jax.random.key(k))
    _, _, wanted = heads_image(state, case)
    assert metrics["reconstruction"] < 0.8 * np.abs(wanted - wanted.mean()).mean()


def test_predictions_are_made_from_small_images():
    case = pixel(factor=2)
    state = start(case)
    sharp = case.batch["image"]
    small = jax.image.resize(sharp, (16, 4, 4, 1), "bilinear")
    alone, _ = staged().apply(*student_of(state), small, train=False)
    close(case.method.predict(state, sharp)["student"]["logits"], alone["logits"], atol=1e-5)


def test_the_defaults_are_those_of_half_the_side():
    shown = {k: p.default for k, p in signature(methods.pixel).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert {k: v for k, v in shown.items() if k not in ("mean", "std")} == {
        "label_weight": 0.1, "weight": 0.9, "temperature": 4.0, "reconstruction": 10.0, "feature_weight": 0.0, "layer": "stem",
        "axis_name": None, "micro": 1,
    }  # fmt: skip


def test_the_features_may_have_other_names():
    """They alone train the head here."""
    case = pixel(layer="stage1=stem", label_weight=0.0, weight=0.0, reconstruction=0.0)
    state = start(case)
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    assert np.isfinite(metrics["features"])
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.learner.params["adapter"], new.learner.params["adapter"])
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "stage7"}, "tap 'stage7' is not one of the student's"),
        ({"layer": "stem=stage7"}, "tap 'stage7' is not one of the teacher's"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std hold 3 numbers: expected one for each of the 1 channels"),
    ],
)
def test_refusals(options, said):
    case = pixel(**options)
    with pytest.raises(InputError, match=said):
        case.method.step(start(case), case.batch, KEY)


def test_a_side_below_the_factor_is_refused():
    with pytest.raises(InputError, match="factor=9 is not accepted: expected at most 8"):
        shrink(staged(), 9).init(KEY, jnp.zeros((1, 8, 8, 1)))
