import jax
import jax.numpy as jnp
import pytest

from kdjax.core import InputError, chain
from kdjax.models import conv_net, mobilenet_v2_half, resnet8, trunk_names, wrn_16_1

IMAGE = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)


@pytest.mark.parametrize(
    ("net", "own"),
    [
        (conv_net((2, 3, 4)), {"stage3_conv", "stage3_bn", "classifier"}),
        (resnet8(5), {"stage3_block1", "classifier"}),
        (wrn_16_1(5), {"stage3_block1", "stage3_block2", "bn", "classifier"}),  # its last batch norm has the name of a stem's
    ],
)
def test_what_is_left_is_the_last_stage_and_what_follows(net, own):
    params, _ = jax.eval_shape(net.init, jax.random.key(0), IMAGE)
    assert set(params) - set(trunk_names(net, IMAGE)) == own


def test_a_convolution_behind_the_last_stage_is_not_shared():
    net = mobilenet_v2_half(3)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), IMAGE)
    left = set(params) - set(trunk_names(net, IMAGE))
    assert {"classifier", "head_conv", "head_bn"} <= left < set(params)


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (conv_net((4,)), "branches share what lies in front of the last stage, and this net has one: expected 2 or more stages"),
        (chain(encoder=conv_net((2, 3), 4)), "branches need layers of their own behind 'stage1': all is in encoder"),
    ],
)
def test_nets_without_a_trunk_are_refused(net, words):
    with pytest.raises(InputError, match=f"^{words}"):
        trunk_names(net, IMAGE)
