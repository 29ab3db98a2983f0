"""Hint points are chosen once the teacher's weights are there."""

import jax
import jax.numpy as jnp
import pytest
from contexts import stages_of, weights_of

from kdjax import evaluate, models
from kdjax.core import InputError

KEY = jax.random.key(0)
TEACHER = models.resnet8(4)
BATCH = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.arange(2), "index": jnp.arange(2)}


def terms(stage, weights):
    state = jax.eval_shape(lambda *args: stage.method.init(*args), KEY, BATCH, {"teacher": weights})
    return {
        name
        for name in jax.eval_shape(lambda *args: stage.method.step(*args), state, BATCH, KEY)[1]
        if name.startswith("attention")
    }


def test_hint_points_are_chosen_when_the_teacher_s_weights_are_there(monkeypatch):
    asked = []

    def choose(net, params, stats, batches, k, *, metric, update):
        asked.append((sum(len(x) for x in batches), k, metric, update))
        return "stage2_block1", "stage3_block1"

    monkeypatch.setattr(evaluate, "choose_hint_points", choose)
    stage = stages_of("pursuhint", TEACHER, images=20, metric="linear_cka")["student"]
    weights = weights_of(TEACHER)
    assert jax.eval_shape(lambda w: stage.given({"teacher": w}), weights)["teacher"].params
    assert not asked and terms(stage, weights) == {"attention_stage1_block1", "attention_stage2_block1"}  # a rehearsal
    for _ in range(2):
        assert stage.given({"teacher": weights})["teacher"] is weights
    assert asked == [(20, 2, "linear_cka", "mean_index")]
    assert terms(stage, weights) == {"attention_stage2_block1", "attention_stage3_block1"}


def test_hint_points_that_are_given_are_taken(monkeypatch):
    monkeypatch.setattr(evaluate, "choose_hint_points", None)
    stage, weights = stages_of("pursuhint", TEACHER, layers=("stage2=stage3_block1",))["student"], weights_of(TEACHER)
    stage.given({"teacher": weights})
    assert terms(stage, weights) == {"attention_stage3_block1"}


def test_hint_points_that_cannot_be_are_refused_before_a_stage_runs():
    transformer = {"name": "vit", "patch": 4, "width": 8, "depth": 2, "heads": 2, "classes": 4, "dtype": "float32"}
    with pytest.raises(InputError, match=r"^layers=\(\) is not accepted: the student has 0 stages to hint, the teacher 3 layers"):
        stages_of("pursuhint", TEACHER, transformer)
    with pytest.raises(InputError, match="metric 'cosine' is not known"):
        stages_of("pursuhint", TEACHER, metric="cosine")
