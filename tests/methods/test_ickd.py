from inspect import signature

import jax
import numpy as np
import optax
import pytest
from cases import close, offline, start, student_of
from tiny_nets import staged

from kdjax import losses, methods
from kdjax.core import InputError, jit_fast_compile

KEY = jax.random.key(5)
ickd = offline(methods.ickd)


def test_without_it_the_student_trains_alone():
    case, plain = ickd(weight=0.0), methods.supervised(staged(), optax.sgd(0.05))
    new, _ = jax.jit(case.method.step)(start(case), case.batch, KEY)
    expected, _ = jax.jit(plain.step)(jit_fast_compile(plain.init)(jax.random.key(0), case.batch, {}), case.batch, KEY)
    close(student_of(new), student_of(expected), atol=1e-6)


def test_the_term_is_the_loss_of_embedded_maps():
    """1x1 convolution to the teacher's channels, then batch norm with the batch's own statistics."""
    case = ickd(layer="stage1=stage2")
    state, images = start(case), case.batch["image"]
    teacher = case.given["teacher"]
    (student, _), (wanted, _) = (
        case.nets["student"].apply(*student_of(state), images, train=True),
        case.nets["teacher"].apply(teacher.params, teacher.stats, images, train=False),
    )
    adapter = state.learner.params["adapter"]["1"]
    assert adapter["conv"]["kernel"].shape == (1, 1, 4, 8) and "bias" not in adapter["conv"]
    x = np.asarray(student["stage1"]) @ np.asarray(adapter["conv"]["kernel"])[0, 0]
    x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    np.testing.assert_allclose(metrics["channels"], losses.inter_channel_correlation(x, wanted["stage2"]).mean(), rtol=1e-4)
    assert np.any(new.learner.params["adapter"]["1"]["conv"]["kernel"] != adapter["conv"]["kernel"])


def test_the_defaults():
    shown = {k: p.default for k, p in signature(methods.ickd).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert shown == {"label_weight": 1.0, "weight": 2.5, "layer": "", "axis_name": None, "micro": 1}


def test_a_map_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="tap 'stage9' is not one of the student's"):
        start(ickd(layer="stage9"))
