"""What plans make of a config: hint points, heads and tokens that follow from the teacher or the method."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from settings import setting

from configs import _methods
from kdjax import evaluate, models
from kdjax.core import Frozen, InputError

KEY = jax.random.key(0)
STUDENT = {"name": "conv_net", "widths": [3, 4], "classes": 4, "dtype": "float32"}
TEACHER = models.resnet8(4)
BATCH = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.arange(2), "index": jnp.arange(2)}


class Kept(NamedTuple):
    """What a plan told a stage."""

    make: Callable
    nets: dict
    given: Callable | None = None
    view: Callable = lambda images: images / 255


def plan_of(name, student=STUDENT, teacher=TEACHER, **changed):
    options = {k: v for k, v in _methods.section(name, **changed).items() if k != "name"}
    return _methods.stages(name, setting(student, teacher, options, lambda make, nets, given=None, **more: Kept(make, nets, given)))


def terms(stage, weights):
    method = stage.make(optax.sgd(0.1), axis_name=None, micro=1)
    state = jax.eval_shape(method.init, KEY, BATCH, {"teacher": weights})
    return {name for name in jax.eval_shape(method.step, state, BATCH, KEY)[1] if name.startswith("attention")}


def test_hint_points_are_chosen_when_the_teacher_s_weights_are_there(monkeypatch):
    asked = []

    def choose(net, params, stats, batches, k, *, metric, update):
        asked.append((sum(len(x) for x in batches), k, metric, update))
        return "stage2_block1", "stage3_block1"

    monkeypatch.setattr(evaluate, "choose_hint_points", choose)
    stage = plan_of("pursuhint", images=20, metric="linear_cka")["student"]
    weights = Frozen(*TEACHER.init(KEY, BATCH["image"]), source="of a test")
    assert jax.eval_shape(lambda w: stage.given({"teacher": w}), weights)["teacher"].params
    assert not asked and terms(stage, weights) == {"attention_stage1_block1", "attention_stage2_block1"}  # a rehearsal
    for _ in range(2):
        assert stage.given({"teacher": weights})["teacher"] is weights
    assert asked == [(20, 2, "linear_cka", "mean_index")]
    assert terms(stage, weights) == {"attention_stage2_block1", "attention_stage3_block1"}


def test_hint_points_that_are_given_are_taken(monkeypatch):
    monkeypatch.setattr(evaluate, "choose_hint_points", None)
    stage = plan_of("pursuhint", layers=("stage2=stage3_block1",))["student"]
    weights = Frozen(*TEACHER.init(KEY, BATCH["image"]), source="of a test")
    stage.given({"teacher": weights})
    assert terms(stage, weights) == {"attention_stage3_block1"}


def test_hint_points_that_cannot_be_are_refused_before_a_stage_runs():
    transformer = {"name": "vit", "patch": 4, "width": 8, "depth": 2, "heads": 2, "classes": 4, "dtype": "float32"}
    with pytest.raises(InputError, match=r"^layers=\(\) is not accepted: the student has 0 stages to hint, the teacher 3 layers"):
        plan_of("pursuhint", transformer)["student"]
    with pytest.raises(InputError, match="metric 'cosine' is not known"):
        plan_of("pursuhint", metric="cosine")["student"]


@pytest.mark.parametrize(
    ("net", "token", "wanted"),
    [
        ({"name": "vit", "width": 8}, "distillation", {"name": "vit", "width": 8, "distillation": True}),
        ({"name": "vit_small"}, "distillation", {"name": "deit_small"}),
        ({"name": "deit_tiny"}, "distillation", {"name": "deit_tiny"}),
        ({"name": "vit_small"}, "class", {"name": "vit_small"}),
    ],
)
def test_deit_s_student_is_the_transformer_with_the_token(net, token, wanted):
    found = _methods.METHODS["deit"].student(setting(net, TEACHER, {"token": token}))
    assert found == wanted


@pytest.mark.parametrize(("block", "heads"), [(0, 4), (1, 2)])
def test_tinymim_s_student_has_as_many_heads_at_last_as_the_teacher_s_block(block, heads):
    transformer = {"name": "vit", "patch": 4, "width": 8, "depth": 2, "heads": 2, "classes": 4, "dtype": "float32"}
    teacher = models.vit(4, 12, 2, 2, 4, last_heads=4)
    options = _methods.section("tinymim")["first"] | {"block": block}
    first, last = plan_of("tinymim", transformer, teacher, first=options).values()
    assert first.nets["student"]["last_heads"] == last.nets["network"]["last_heads"] == heads


def test_methods_of_two_stages_take_several_teachers_as_one():
    options = {k: v for k, v in _methods.section("tinymim").items() if k != "name"}
    with pytest.raises(InputError, match=r"--config.teachers_combine='separate' is not accepted: expected ensemble with tinymim"):
        _methods.stages("tinymim", setting(STUDENT, TEACHER, options)._replace(separate=(0.5, 0.5)))
