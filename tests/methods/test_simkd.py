import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import defaults, equal, simkd, start, taught
from tiny_nets import CLASSES, LABELS, staged

from kdjax import methods
from kdjax.core import InputError
from kdjax.models import projected

KEY = jax.random.key(5)


def test_the_student_ships_with_the_teacher_s_linear_layer():
    """Behind the projected map stands what classifies the teacher's: no weight decay moves it."""
    case = simkd(tx=optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05)))
    blank = case.method.init(KEY, case.batch, jax.tree.map(jnp.zeros_like, case.given))  # as a run starts
    state = blank._replace(given=case.given)
    for _ in range(3):
        state, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    layer = case.given["teacher"].params["classifier"]
    params, stats = case.method.weights(state)["student"]
    assert equal(stats["then"]["classifier"], layer)
    taps, _ = case.nets["student"].apply(params, stats, case.batch["image"], train=False)
    by_hand = np.asarray(taps["head"]).mean((1, 2)) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    np.testing.assert_allclose(taps["logits"], by_hand, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_mean_square_of_the_maps_and_knows_no_labels():
    case = simkd(weight=2.0)
    state, step = start(case), jax.jit(case.method.step)
    new, metrics = step(state, case.batch, KEY)
    other, _ = step(state, case.batch | {"label": LABELS[::-1]}, KEY)
    assert equal(new, other)
    student = case.nets["student"].apply(*case.method.weights(state)["student"], case.batch["image"], train=True)[0]
    frozen = case.given["teacher"]
    teacher = case.nets["teacher"].apply(frozen.params, frozen.stats, case.batch["image"], train=False)[0]
    wanted = np.mean((np.asarray(student["head"]) - np.asarray(teacher["stage2"])) ** 2)
    np.testing.assert_allclose(metrics["projected"], wanted, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], 2 * wanted, rtol=1e-4)


def test_maps_of_other_sizes_meet_at_the_smaller():
    teacher = staged(width=6)  # 4x4
    for size, side in (((2, 2), 2), ((4, 4), 4)):
        student = projected({"name": "conv_net", "widths": [4, 6], "classes": 0}, "stage1", 8, size, CLASSES)  # 8x8
        case = taught(methods.simkd, student, teacher)
        state = start(case)
        assert case.method.predict(state, case.batch["image"])["student"]["head"].shape == (16, side, side, 8)
        jax.eval_shape(case.method.step, state, case.batch, KEY)


def test_other_students_are_refused():
    narrow = projected({"name": "conv_net", "widths": [4, 6], "classes": 0}, "stage2", 6, (4, 4), CLASSES)
    for student in (staged(), narrow):
        case = taught(methods.simkd, student, staged(width=6))
        with pytest.raises(
            InputError, match=r"needs a student of models.projected with the teacher's channels and classes, \(8, 4\)"
        ):
            jax.eval_shape(case.method.init, KEY, case.batch, case.given)


def test_the_defaults_are_the_authors():
    assert defaults(methods.simkd) == {"weight": 1.0}
