from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from oracle import refused, same_gradient, same_value, value_and_grad

from kdjax import losses

RNG = np.random.default_rng(8)
HIDDEN, THEIRS = (RNG.normal(size=(2, 5, d)).astype(np.float32) for d in (4, 6))
HEAD, THEIR_HEAD = (RNG.normal(size=(d, 9)).astype(np.float32) for d in (4, 6))
ARRAYS = HIDDEN, HEAD, THEIRS, THEIR_HEAD
LOSSES = {
    "kl": partial(losses.kl_distillation, temperature=2.0),
    "both sides": partial(losses.kl_distillation, temperature=2.0, stop_teacher=False),
    "reverse": losses.reverse_kl,
}


def dense(loss, hidden, head, theirs, their_head):
    product = partial(jnp.einsum, "...d,dk->...k", preferred_element_type=jnp.float32)
    return loss(product(hidden, head), jax.lax.stop_gradient(product(theirs, their_head)))


def both(call):
    def summed(*arrays):
        each = call(*arrays)
        return jnp.sum(jnp.sin(each)), each

    return value_and_grad(summed, argnums=(0, 1, 2, 3), has_aux=True)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1, 4, 10, 1000])
def test_values_and_gradients_are_those_of_all_logits_at_once(name, size):
    (_, expected), right = both(partial(dense, LOSSES[name]))(*ARRAYS)
    (_, found), gradients = both(partial(losses.in_chunks, LOSSES[name], size=size))(*ARRAYS)
    assert found.shape == (2, 5)
    same_value(found, np.float64(expected))
    for gradient, wanted in zip(gradients[:2], right[:2], strict=True):
        same_gradient(gradient, np.float64(wanted))
    assert not any(g.any() for g in gradients[2:])


def test_numbers_of_the_loss_may_be_swept():
    def at(temperature):
        return losses.in_chunks(partial(losses.kl_distillation, temperature=temperature), *ARRAYS, size=3)

    found = jax.jit(jax.vmap(at))(jnp.array([1.0, 3.0]))
    for row, temperature in zip(found, (1.0, 3.0), strict=True):
        same_value(row, np.float64(dense(partial(losses.kl_distillation, temperature=temperature), *ARRAYS)))
    gradient = jax.jit(
        jax.grad(lambda h, t: jnp.sum(losses.in_chunks(partial(losses.kl_distillation, temperature=t), h, *ARRAYS[1:])))
    )
    assert np.isfinite(gradient(HIDDEN, 2.0)).all()


def test_numbers_of_the_loss_lie_on_an_explicit_mesh():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    hidden = jax.device_put(HIDDEN, NamedSharding(mesh, P("data")))

    def at(temperature):
        return losses.in_chunks(partial(losses.kl_distillation, temperature=temperature), hidden, *ARRAYS[1:], size=4)

    def enclosed(temperature):
        loss = partial(losses.kl_distillation, temperature=temperature)
        return losses.in_chunks(lambda s, t: loss(s, t), hidden, *ARRAYS[1:], size=4)

    with jax.set_mesh(mesh):
        same_value(jax.jit(at)(jnp.float32(2.0)), np.float64(dense(LOSSES["kl"], *ARRAYS)))
        refused(lambda: jax.jit(enclosed)(jnp.float32(2.0)), ["array of its own", "functools.partial"])


def test_positions_that_do_not_count():
    where = np.arange(10).reshape(2, 5) % 3 > 0
    spoiled = [np.where(where[..., None], x, np.float32(np.nan)) for x in (HIDDEN, THEIRS)]
    loss = LOSSES["kl"]
    (_, expected), right = both(lambda *xs: jnp.where(where, dense(loss, *xs), 0))(*ARRAYS)
    (_, found), gradients = both(partial(losses.in_chunks, loss, size=4, where=where))(spoiled[0], HEAD, spoiled[1], THEIR_HEAD)
    same_value(found, np.float64(expected))
    for gradient, wanted in zip(gradients[:2], right[:2], strict=True):
        same_gradient(gradient, np.float64(wanted))


def test_the_logits_are_never_there_as_a_whole():
    """Temporary memory of the gradient, as the compiler counts it."""
    rows, width, classes = 512, 16, 4096
    shapes = [jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in ((rows, width), (width, classes)) * 2]

    def memory(call):
        gradient = jax.grad(lambda *xs: jnp.sum(call(*xs)), argnums=(0, 1))
        return jax.jit(gradient).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    whole = memory(partial(dense, LOSSES["kl"]))
    assert whole > rows * classes * 4
    assert memory(partial(losses.in_chunks, LOSSES["kl"], size=64)) < rows * classes * 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.in_chunks(losses.reverse_kl, *ARRAYS, size=0), ["size=0"]),
        (lambda: losses.in_chunks(losses.reverse_kl, HIDDEN, HEAD.T, THEIRS, THEIR_HEAD), ["student_head has shape (9, 4)"]),
        (lambda: losses.in_chunks(losses.reverse_kl, HIDDEN, HEAD, THEIRS[0], THEIR_HEAD), ["teacher has shape (5, 6)"]),
        (lambda: losses.in_chunks(losses.reverse_kl, HIDDEN, HEAD, THEIRS, THEIR_HEAD[:, :8]), ["teacher_head has shape (6, 8)"]),
    ],
)
def test_refusals(call, words):
    refused(call, words)
