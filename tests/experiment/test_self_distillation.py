"""The experiment of networks that teach themselves."""

import jax
import numpy as np
import pytest
from contexts import BLACK, shared

from configs import self_distil
from kdjax.core import InputError
from kdjax.data import Source
from kdjax.experiment.entry import method_section
from kdjax.experiment.self_distillation import own_stages

LABELS = np.arange(30) % 4
ROWS = Source(30, lambda rows: {"image": BLACK[rows], "index": rows, "label": LABELS[rows]}, lambda: LABELS)

SUBMODELS = {"name": "resnet8", "drop_path": 0.5}


def stage(method, source=ROWS, batch=8, sweep="", net=(), axis_name=None, **changed):
    section = method_section(method, self_distil.METHODS, **changed)
    fields = shared(source=source, axis_name=axis_name)
    if net:
        fields["specification"] = {k: v for k, v in fields["specification"].items() if k != "widths"} | net
    fields["config"].data.batch, fields["config"].sweep = batch, sweep
    return own_stages("student", section, self_distil.METHODS, fields)["student"]


def test_every_method_is_one_stage_without_a_teacher():
    for name in self_distil.METHODS:
        found = stage(name, net=SUBMODELS if name == "cosub" else ())
        assert found.method.needs == () and found.steps == 45, name


def test_a_batch_holds_what_the_objective_sees():
    pairs = stage("cs_kd")
    rows = pairs.sampler.rows(0, 0).reshape(-1, 2)
    assert pairs.batch == 16 and (LABELS[rows[:, 0]] == LABELS[rows[:, 1]]).all()
    groups = stage("bake", others=1)
    rows = groups.sampler.rows(0, 0).reshape(-1, 2)
    assert groups.batch == 8 and (LABELS[rows[:, 0]] == LABELS[rows[:, 1]]).all()
    batch = {"image": np.zeros((2, 8, 8, 1), np.uint8)}
    assert len(stage("ddgsd").augment(jax.random.split(jax.random.key(0), 2), batch)["views"]) == 2


def test_a_sum_has_the_batch_of_its_parts():
    both = stage("cs_kd+sd_dropout+tf_kd")
    assert both.batch == 16 and both.method.needs == ()
    with pytest.raises(InputError, match="other rows of a batch, anchors of pairs and both views"):
        stage("cs_kd+ddgsd")
    with pytest.raises(InputError, match="other rows of a batch, anchors of pairs and anchors with companions"):
        stage("cs_kd+bake")
    rows = stage("bake+sd_dropout").sampler.rows(0, 0).reshape(-1, 4)
    assert (LABELS[rows] == LABELS[rows[:, :1]]).all()


def test_options_of_a_method_are_swept():
    found = stage("sd_dropout", sweep="weight=0.1,1 learning_rate=0.1,0.2")
    assert found.choose and found.members == 4 and set(found.hyper) == {"weight", "learning_rate"}


def test_a_class_of_one_image_is_refused():
    alone = Source(30, ROWS.read, lambda: np.arange(30) // 29)
    for name in ("cs_kd", "bake"):
        with pytest.raises(InputError, match=r"^--config.method is not accepted with .* images: class 1 has 1, and"):
            stage(name, alone)


def test_a_batch_that_groups_do_not_divide_is_refused():
    with pytest.raises(InputError, match="batch=6 is not accepted: expected a multiple of 4"):
        stage("bake", batch=6)


def test_images_without_a_label_are_no_labels_to_soften():
    some = Source(30, ROWS.read, lambda: np.where(np.arange(30) < 9, LABELS, -1))
    with pytest.raises(InputError, match="21 images without one"):
        stage("ps_kd", some)


def test_a_net_without_submodels_is_refused():
    for method, net in (("cosub", ()), ("cosub+sd_dropout", {**SUBMODELS, "drop_path": 0.0})):
        with pytest.raises(InputError, match=r"^cosub is not accepted with a network .* expected drop_path above 0"):
            stage(method, net=net)
    assert stage("cosub+sd_dropout", net=SUBMODELS).batch == 8
    assert stage("cosub", net=SUBMODELS, axis_name="data").unmapped  # asked outside of what maps the axis


def test_exits_lie_where_the_config_says():
    """Of a net of two stages, behind the first or nowhere."""
    section = method_section("byot", self_distil.METHODS)
    fields = shared(source=ROWS)
    image = np.zeros((2, 8, 8, 1), np.float32)
    batch = {"image": image, "label": np.array([0, 1]), "index": np.arange(2)}
    for stages in ("stage1", "stage9"):
        with fields["config"].unlocked():
            fields["config"].exits = {"stages": stages, "heads": "bottleneck"}
        method = own_stages("student", section, self_distil.METHODS, fields)["student"].method
        start = lambda method=method: jax.eval_shape(method.init, jax.random.key(0), batch, {})  # noqa: E731
        if stages == "stage1":
            assert set(start().learner.params["heads"]) == {"branch1_bottleneck", "branch1_classifier"}
            continue
        with pytest.raises(
            InputError, match=r"^stages=\('stage9',\) is not accepted: no exit lies behind stage9; accepted: stage1"
        ):
            start()
