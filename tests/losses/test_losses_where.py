"""Rows and positions that do not count: a batch is as if they were not there, and what stands in them is never read."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import refused, same_gradient, same_value, value_and_grad
from test_losses_devices import mesh

from kdjax import losses

RNG = np.random.default_rng(21)
ROWS = np.array([True, False, True, True, False, True])
COUNT = len(ROWS)
S, T = RNG.normal(size=(2, COUNT, 5)).astype(np.float32)
MAPS, THEIRS = RNG.normal(size=(2, COUNT, 4, 4, 3)).astype(np.float32)
HEADS, THEIR_HEADS = RNG.normal(size=(2, 3, COUNT, 2, 4, 3)).astype(np.float32)
TOKENS = RNG.normal(size=(2, COUNT, 4, 3)).astype(np.float32)

# One value a row, of a student and a teacher; `where` is [B].
EACH = {
    "attention_transfer": (losses.attention_transfer, MAPS, THEIRS),
    "attention_transfer, paper": (partial(losses.attention_transfer, variant="paper"), MAPS, THEIRS),
    "byol": (losses.byol, S, T),
    "factor_transfer": (losses.factor_transfer, MAPS, THEIRS),
    "flow_of_solution": (lambda s, t, **w: losses.flow_of_solution(s, s, t, t, **w), MAPS, THEIRS),
    "hierarchical_context": (losses.hierarchical_context, MAPS, THEIRS),
    "hierarchical_distillation": (lambda s, t, **w: losses.hierarchical_distillation([s, 2 * s], [t, t], **w), S, T),
    "hint": (losses.hint, S, T),
    "inter_channel_correlation": (losses.inter_channel_correlation, MAPS, THEIRS),
    "neuron_selectivity": (losses.neuron_selectivity, MAPS, THEIRS),
    "overhaul": (partial(losses.overhaul, margin=-np.ones(3, np.float32)), MAPS, THEIRS),
    "simsiam": (losses.simsiam, S, T),
    "variational_information": (lambda s, t, **w: losses.variational_information(s, t, np.zeros(3, np.float32), **w), MAPS, THEIRS),
}
# One value of a batch; `where` is [B].
BATCH = {
    "batch_correlation": losses.batch_correlation,
    "class_correlation": losses.class_correlation,
    "correlation_congruence": losses.correlation_congruence,
    "correlation_congruence, paper": partial(losses.correlation_congruence, variant="paper"),
    "dist": losses.dist,
    "probabilistic_transfer": losses.probabilistic_transfer,
    "probabilistic_transfer, paper": partial(losses.probabilistic_transfer, variant="paper"),
    "relational_angle": losses.relational_angle,
    "relational_distance": losses.relational_distance,
    "similarity_preserving": losses.similarity_preserving,
}
# The mean (or sum) of each row over its positions; `where` is [B, N].
MEANS = {
    "activation_boundary": losses.activation_boundary,
    "activation_norm": lambda s, t, **w: losses.activation_norm(s, **w),
    "hint": losses.hint,
    "reconstruction": losses.reconstruction,
}
ELSEWHERE = {"image_contrast", "in_chunks"}  # whose own tests have it; logits are in test_losses_positions.py


def test_every_loss_that_takes_where_is_tested():
    takes = {name for name in losses.__all__ if "where" in inspect.signature(getattr(losses, name)).parameters}
    from test_losses_positions import POSITIONS

    above = {name.split(",")[0] for name in EACH | dict.fromkeys(BATCH) | MEANS | POSITIONS} | ELSEWHERE | {"token_relation"}
    assert {getattr(losses, name) for name in takes} == {getattr(losses, name) for name in above}


def spoil(x, where):
    return np.where(where.reshape(*where.shape, *[1] * (x.ndim - where.ndim)), x, np.float32(np.nan))


def summed(loss):
    """The sum of sines of what a loss gives, and what it gives, differentiated by both sides."""

    def call(s, t):
        found = loss(s, t)
        return jnp.sum(jnp.sin(found)), found

    return value_and_grad(call, argnums=(0, 1), has_aux=True)


@pytest.mark.parametrize("name", EACH)
def test_rows_that_do_not_count(name):
    loss, s, t = EACH[name]
    (_, expected), right = summed(lambda *x: jnp.where(ROWS, loss(*x), 0))(s, t)
    (_, found), gradients = summed(partial(loss, where=ROWS))(spoil(s, ROWS), spoil(t, ROWS))
    same_value(found, np.float64(expected))
    for gradient, wanted in zip(gradients, right, strict=True):
        same_gradient(gradient, np.float64(wanted))
    refused(lambda: loss(s, t, where=ROWS[:-1]), ["where is bool[5]: expected bool[6]"])


@pytest.mark.parametrize("name", BATCH)
def test_a_batch_is_as_if_rows_that_do_not_count_were_not_there(name):
    loss = BATCH[name]
    (_, expected), right = summed(loss)(S[ROWS], T[ROWS])
    (_, found), gradients = summed(partial(loss, where=ROWS))(spoil(S, ROWS), spoil(T, ROWS))
    same_value(found, np.float64(expected), 1e-4)
    for gradient, wanted in zip(gradients, right, strict=True):
        assert not gradient[~ROWS].any()
        same_gradient(gradient[ROWS], np.float64(wanted), 1e-3)
    # On two devices, of which one has more rows that count.
    over = jax.shard_map(
        lambda s, t, w: loss(s, t, where=w, axis_name="data"),
        mesh=mesh(jax.sharding.AxisType.Auto), in_specs=jax.P("data"), out_specs=jax.P(),
    )  # fmt: skip
    order = np.argsort(~ROWS, kind="stable")
    (_, halved), mapped = summed(lambda s, t: over(s, t, ROWS[order]))(spoil(S, ROWS)[order], spoil(T, ROWS)[order])
    same_value(halved, np.float64(expected), 1e-4)
    same_gradient(mapped[0][: ROWS.sum()], np.float64(right[0]), 1e-3)
    none, still = summed(partial(loss, where=np.zeros(COUNT, bool)))(S, T)
    assert none[1] == 0 and not any(g.any() for g in still)
    refused(lambda: loss(S, T, where=np.ones(COUNT)), ["expected bool[6]"])


@pytest.mark.parametrize("name", MEANS)
def test_positions_that_do_not_count(name):
    loss, (s, t) = MEANS[name], TOKENS
    where = RNG.random((COUNT, 4)) < 0.5
    where[0] = False
    call, alone = summed(partial(loss, where=where)), summed(loss)
    (_, found), gradients = call(spoil(s, where), spoil(t, where))
    assert found[0] == 0
    for i in range(1, COUNT):
        if not (kept := where[i]).any():
            continue
        (_, expected), right = alone(s[i : i + 1, kept], t[i : i + 1, kept])
        same_value(found[i], np.float64(expected[0]))
        same_gradient(gradients[0][i, kept], np.float64(right[0][0]))
    assert not gradients[0][~where].any()


def test_tokens_that_do_not_count():
    where = np.array([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 1]], bool)
    kept = where[None, :, None, :, None]
    spoiled = [np.where(kept, x, np.float32(np.nan)) for x in (HEADS, THEIR_HEADS)]
    (_, found), gradients = summed(partial(losses.token_relation, where=where))(*spoiled)
    assert found[2] == 0 and np.isfinite(gradients[0]).all()
    assert not np.where(kept, 0, gradients[0]).any()
    for i in (0, 1, 4, 5):
        (_, expected), right = summed(losses.token_relation)(*(x[:, i : i + 1, :, where[i]] for x in (HEADS, THEIR_HEADS)))
        same_value(found[i], np.float64(expected[0]))
        same_gradient(gradients[0][:, i : i + 1, :, where[i]], np.float64(right[0]))
