import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError
from kdjax.models import last_map, last_stage, stage_names

NETS = {
    "conv_net": models.conv_net((3, 4), 0),
    "wrn": models.wrn(10, 1, 0),
    "resnet8": models.resnet8(0),
    "shufflenet_v2": models.shufflenet_v2(0),
    "projected": models.projected({"name": "conv_net", "widths": [3], "classes": 0}, "stage1", 4, (2, 2), 3),
}


@pytest.mark.parametrize("name", NETS)
def test_pooled_is_the_mean_of_the_last_map(name, drawn):
    net = NETS[name]
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    taps, _ = jax.jit(lambda p, s, x: net.apply(p, s, x, train=False))(*drawn(net, images), images)
    np.testing.assert_allclose(last_map(taps).mean((1, 2)), taps["pooled"], rtol=1e-4, atol=1e-6)


def test_stages_are_in_order():
    taps = dict.fromkeys([*(f"stage{k}" for k in range(12, 0, -1)), "stage3_preact", "stage3_block1", "stem"], jnp.zeros(1))
    assert stage_names(taps) == [f"stage{k}" for k in range(1, 13)]
    assert last_stage(taps) == "stage12"


def test_transformers_are_refused():
    with pytest.raises(InputError, match=r"a net with stages is needed: expected the taps 'stage1', \.\.\., found cls, pooled"):
        last_map({"pooled": jnp.zeros(1), "cls": jnp.zeros(1)})
    with pytest.raises(InputError, match="expected the tap 'head' or 'stage1_preact'"):
        last_map({"stage1": jnp.zeros(1)})
