import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import exits, parameter_count, preact_resnet18


@pytest.mark.parametrize(("classes", "count"), [(100, 11_217_444), (10, 11_171_274)])
def test_parameter_counts_are_those_of_the_authors_code(classes, count):
    """Layer by layer in `CIFAR_ResNet18` of github.com/winycg/Self-KD-Lib at 3c6422e."""
    assert parameter_count(preact_resnet18(classes), (1, 32, 32, 3)) == count


def test_no_norm_follows_the_last_block(shapes):
    params, _, taps, _ = shapes(preact_resnet18(3), jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32))
    assert {name for name in params if not name.startswith("stage")} == {"conv", "bn", "classifier"}
    assert "stage4_preact" not in taps and taps["stage3_preact"].shape == taps["stage3"].shape


def test_pooled_is_the_mean_of_the_last_sum(drawn):
    net, x = preact_resnet18(0), jax.random.normal(jax.random.key(1), (1, 8, 8, 1))
    taps, _ = jax.jit(lambda p, s, x: net.apply(p, s, x, train=False))(*drawn(net, x), x)
    np.testing.assert_allclose(taps["stage4"].mean((1, 2)), taps["pooled"], rtol=1e-4, atol=1e-5)
    assert (taps["stage4"] < 0).any()


def test_its_exits_have_no_last_norm_either():
    net = {"name": "preact_resnet18", "classes": 5}
    backbone, x = preact_resnet18(5), jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    taps = jax.eval_shape(lambda x: backbone.apply(*backbone.init(jax.random.key(0), x), x, train=False)[0], x)
    params, _ = jax.eval_shape(lambda t: exits(net, stages=("stage3",)).init(jax.random.key(0), t), taps)
    assert set(params) == {"branch3_stage4_block1", "branch3_stage4_block2", "branch3_classifier"}


def test_a_negative_number_of_classes_is_refused():
    with pytest.raises(InputError, match="classes=-1"):
        preact_resnet18(-1)
