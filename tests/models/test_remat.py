"""Gradient checkpointing, against the same net without it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError
from kdjax.models.remat import remat

IMAGES = jax.random.uniform(jax.random.key(1), (16, 16, 16, 3))
NETS = {"vit": models.vit(2, 16, 3, 2, drop_path=0.5), "wrn": models.wrn(16, 1, 10, drop_path=0.3)}
KEPT = {"xla_disable_hlo_passes": "cse_barrier_expander"}  # the compiler for CPUs computes the second pass early otherwise


def bytes_of(tree):
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def loss_of(net, stats):
    def loss(params):
        taps, new = net.apply(params, stats, IMAGES, train=True, key=jax.random.key(2))
        return jnp.sum(taps["logits"] ** 2), (taps, new)

    return loss


@pytest.mark.parametrize("name", NETS)
def test_values_and_gradients_are_those_of_the_net_in_less_memory(name):
    """With the same rows in the same branches, and the same batch statistics."""
    params, stats = jax.jit(NETS[name].init)(jax.random.key(0), IMAGES)
    found = []
    for net in (NETS[name], remat(NETS[name])):
        loss = loss_of(net, stats)
        kept = bytes_of(jax.eval_shape(lambda p, loss=loss: jax.vjp(loss, p, has_aux=True)[1], params))
        program = jax.jit(jax.value_and_grad(loss, has_aux=True))
        compiled = program.lower(params).compile(compiler_options=KEPT)
        found.append((compiled(params), kept, compiled.memory_analysis().temp_size_in_bytes))
    (plain, kept, memory), (again, less_kept, less_memory) = found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), plain, again)
    assert less_kept < kept / 4 and less_memory < memory / 1.5, (kept, less_kept, memory, less_memory)


def test_a_net_without_blocks_is_refused():
    with pytest.raises(InputError, match=r"remat=True is not accepted: expected a net with blocks"):
        jax.eval_shape(remat(models.conv_net((2,))).init, jax.random.key(0), IMAGES)
