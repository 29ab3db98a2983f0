"""Networks that are more than the student's own: heads and tokens that follow from the teacher or the method."""

import jax
import jax.numpy as jnp
import pytest
from contexts import context, stages_of

from kdjax import models
from kdjax.experiment import student_nets

VIT = {"name": "vit", "patch": 4, "width": 8, "depth": 2, "heads": 2, "classes": 4, "dtype": "float32"}


@pytest.mark.parametrize(("teacher", "wanted"), [(models.conv_net((4, 6, 8)), (8, [4, 4])), (models.wrn(10, 1), (64, [4, 4]))])
def test_simkd_s_student_has_a_projector_to_the_teacher_s_last_map(teacher, wanted):
    own = {"name": "conv_net", "widths": [3, 4], "classes": 7, "dtype": "float32", "mean": [0.1], "std": [0.2]}
    found = student_nets.projected(context(teacher, student=own, shape=(16, 16, 1)), 4)
    assert found == {
        "name": "projected", "net": {"name": "conv_net", "widths": [3, 4], "classes": 0}, "tap": "stage2", "channels": wanted[0],
        "size": wanted[1], "factor": 4, "classes": 7, "dtype": "float32", "mean": [0.1], "std": [0.2],
    }  # fmt: skip
    net = models.build(found)
    taps, _ = jax.eval_shape(lambda x: net.apply(*net.init(jax.random.key(0), x), x, train=False), jnp.zeros((2, 16, 16, 1)))
    assert taps["head"].shape == (2, 4, 4, wanted[0]) and taps["logits"].shape == (2, 7)


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
    assert student_nets.with_token(context(models.resnet8(4), settings={"token": token}, student=net)) == wanted


@pytest.mark.parametrize(("block", "heads"), [(0, 4), (1, 2)])
def test_tinymim_s_student_has_as_many_heads_at_last_as_the_teacher_s_block(block, heads):
    first, last = stages_of("tinymim", models.vit(4, 12, 2, 2, 4, last_heads=4), VIT, first={"block": block}).values()
    assert first.nets["student"]["last_heads"] == last.nets["network"]["last_heads"] == heads


def test_branches_are_named_by_the_net_before_them():
    assert student_nets.branched({"name": "resnet8", "classes": 7}) == {
        "name": "branched", "net": {"name": "resnet8", "classes": 7}, "classes": 7,
    }  # fmt: skip
    assert student_nets.shrunk(context(models.resnet8(4)), 3)["factor"] == 3
