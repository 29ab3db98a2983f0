"""What is said of weights that are not quite those of a net."""

import jax
import numpy as np
import pytest

from kdjax import models
from kdjax.core.tree_paths import by_path
from kdjax.models.pretrained.fit import advice, is_head, leftover, resized


def test_heads_are_linear_layers_at_the_end():
    paths = [
        "params/classifier/kernel",
        "params/classifier_distillation/bias",
        "params/block/classifier/kernel",
        "stats/x",
        "params",
    ]
    assert [is_head(path) for path in paths] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("name", "path", "found", "wanted", "said"),
    [
        ("resnet50", "params/conv/kernel", (7, 7, 3, 64), (3, 3, 3, 64), "; net.stem=imagenet has such a one"),
        ("resnet18", "params/conv/kernel", (3, 3, 3, 64), (7, 7, 3, 64), "; net.stem=cifar has such a one"),
        ("resnet18", "params/conv/kernel", (3, 3, 1, 64), (3, 3, 3, 64), ""),
        ("resnet18", "params/conv/kernel", (64,), (3, 3, 3, 64), ""),
        ("resnet8", "params/conv/kernel", (7, 7, 3, 16), (3, 3, 3, 16), ""),
        ("resnet18", "params/stage1_block1/conv1/kernel", (7, 7, 64, 64), (3, 3, 64, 64), ""),
        ("vit", "params/positions", (1, 65, 16), (1, 17, 16), "; resize=true fits it to these images"),
        ("vit", "params/positions", (1, 65, 16), (1, 17, 32), ""),
        ("vit", "params/positions", (1, 198, 16), (1, 197, 16), "; a net with a distillation token has such a one"),
        ("vit", "params/positions", (1, 197, 16), (1, 198, 16), "; a net without distillation token has such a one"),
    ],
)
def test_the_option_that_helps_is_named(name, path, found, wanted, said):
    assert advice(name, path, found, wanted) == said


def test_only_positions_are_resized():
    net = models.vit(4, 8, 1, 2, 3)
    params, _ = net.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    before = {f"params/{path}": np.asarray(x) for path, x in by_path(params).items()}
    after = resized(before, (16, 8))
    assert after["params/positions"].shape == (1, 9, 8)
    assert all(np.array_equal(x, before[path]) for path, x in after.items() if path != "params/positions")


def test_long_leftovers_are_counted():
    assert leftover([]) == "" and leftover(list("abcdef")) == "left over: a, b, c, d and 2 more"
