import jax
import jax.numpy as jnp
import pytest

from kdjax.core import InputError
from kdjax.models import critic


def test_taps_and_the_first_stage_has_no_batch_norm():
    net = critic((4, 6))
    params, stats = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 9, 8, 3)))
    taps, _ = jax.eval_shape(lambda p, s: net.apply(p, s, jnp.zeros((2, 9, 8, 3)), train=True), params, stats)
    assert {name: x.shape for name, x in taps.items()} == {
        "stage1": (2, 5, 4, 4), "stage2": (2, 3, 2, 6), "pooled": (2, 6), "logit": (2,), "norm/stage2_bn": (2, 3, 2, 6),
    }  # fmt: skip
    assert set(params) == {"stage1_conv", "stage2_conv", "stage2_bn", "classifier"}


def test_refused():
    with pytest.raises(InputError, match="widths"):
        critic(())
