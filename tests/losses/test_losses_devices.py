"""Every loss whose rows see each other, on meshes: of Explicit axes, and inside `shard_map` with its own checks."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from oracle import same_value

from kdjax import losses
from kdjax.core import collectives

RNG = np.random.default_rng(11)
S, T = RNG.normal(size=(2, 8, 5)).astype(np.float32)
MAPS = RNG.normal(size=(8, 4, 4, 3)).astype(np.float32)
INDEX, LABELS = np.arange(8, dtype=np.int32), np.arange(8, dtype=np.int32) % 3
KEY = jax.random.key(2)
BANKS = RNG.normal(size=(2, 9, 5)).astype(np.float32) / 3
VIEWS = RNG.normal(size=(8, 3, 5)).astype(np.float32)  # rows first, as devices share them out
CONTRAST = np.stack([RNG.permutation(9)[:4] for _ in range(8)]).astype(np.int32)


def mean_of(loss, **options):
    """The mean over the global batch of a loss that has a number for each of this device's rows."""
    return lambda *rows, axis_name: collectives.mean(loss(*rows, axis_name=axis_name, **options), axis_name=axis_name)


def rows_second(x):
    return jnp.swapaxes(x, 0, 1)


# A scalar of rows: the first is differentiated, all are spread over devices.
CASES = {
    "averaged_batch_norm_statistics": (
        lambda x, axis_name: losses.averaged_batch_norm_statistics(
            x, T[0, :3], T[1, :3], (S[0, :3], S[1, :3]), momentum=0.5, axis_name=axis_name
        )[0],
        MAPS,
    ),
    "bake_targets": (
        lambda s, t, axis_name: collectives.mean(
            losses.divergence_from(s, losses.bake_targets(t, s, axis_name=axis_name), temperature=4.0), axis_name=axis_name
        ),
        S, T,
    ),
    "barlow_twins": (partial(losses.barlow_twins, weight=0.1), S, T),
    "batch_correlation": (partial(losses.batch_correlation, temperature=2.0), S, T),
    "batch_norm_gaussian": (
        lambda x, axis_name: losses.batch_norm_gaussian(x, T[0, :3], T[1, :3] ** 2, axis_name=axis_name), MAPS
    ),
    "batch_norm_statistics": (lambda x, axis_name: losses.batch_norm_statistics(x, T[0, :3], T[1, :3], axis_name=axis_name), MAPS),
    "class_balance": (losses.class_balance, S),
    "class_correlation": (partial(losses.class_correlation, temperature=2.0), S, T),
    "correlation_congruence": (losses.correlation_congruence, S, T),
    "correlation_congruence, paper": (partial(losses.correlation_congruence, variant="paper"), S, T),
    "crd_constants": (
        lambda s, t, c, axis_name: jnp.sum(losses.crd_constants(s, t, *BANKS, c, -jnp.ones(2), axis_name=axis_name)), S, T, CONTRAST
    ),
    "crd": (
        lambda s, t, c, axis_name: collectives.mean(losses.crd(s, t, *BANKS, c, np.ones(2)), axis_name=axis_name), S, T, CONTRAST
    ),
    "crd_contrast": (
        lambda x, i, axis_name: collectives.mean(x * losses.crd_contrast(KEY, i, LABELS, negatives=4), axis_name=axis_name),
        S,
        INDEX,
    ),
    "crd_in_batch": (losses.crd_in_batch, S, T, LABELS),
    "crd_update": (lambda x, i, axis_name: jnp.sum(losses.crd_update(BANKS[0], x, i, axis_name=axis_name) ** 3), S, INDEX),
    "deepcluster": (
        lambda v, y, axis_name: losses.deepcluster(rows_second(v), y - 1, temperature=0.5, axis_name=axis_name), VIEWS, LABELS
    ),
    "dino": (
        lambda v, t, axis_name: losses.dino(
            rows_second(v), rows_second(t), T[0], student_temperature=0.5, teacher_temperature=0.3, axis_name=axis_name
        ),
        VIEWS, VIEWS[:, :2],
    ),
    "dino_centre": (
        lambda s, t, axis_name: collectives.mean(
            s * losses.dino_centre(S[0], t[None], axis_name=axis_name)[None], axis_name=axis_name
        ),
        S, T,
    ),
    "dist": (partial(losses.dist, beta=1.0, gamma=1.0), S, T),
    "image_contrast": (
        lambda s, t, axis_name: losses.image_contrast(
            *(jnp.concatenate(both) for both in zip((s, t), BANKS[:, :8], strict=True)),
            temperature=0.5, current=len(s), axis_name=axis_name,
        ),
        S, T,
    ),
    "image_norm": (losses.image_norm, MAPS),
    "image_norm, per image": (partial(losses.image_norm, per_image=True), MAPS),
    "image_prior": (losses.image_prior, MAPS),
    "image_prior, l2": (partial(losses.image_prior, norm="l2"), MAPS),
    "info_nce": (mean_of(losses.info_nce, temperature=0.2), S, T),
    "masked_patches": (
        lambda p, x, axis_name: losses.masked_patches(p, x, p[:, :, 0] > 0, patch=2, axis_name=axis_name),
        MAPS.reshape(8, 4, 12)[::-1].copy(), MAPS,
    ),
    "multi_level": (losses.multi_level, S, 2 * S, T, T[::-1].copy()),
    "multi_level, per row": (partial(losses.multi_level, per_row=True), S, 2 * S, T, T[::-1].copy()),
    "nnclr": (mean_of(lambda p, n, **options: losses.nnclr(n, p, **options), temperature=0.2), S, T),
    "nt_xent": (mean_of(lambda x, **options: losses.nt_xent(rows_second(x), **options), temperature=0.2), VIEWS),
    "path_length": (
        lambda s, axis_name: losses.path_length(
            lambda w: jnp.tanh(w @ BANKS[0].T).reshape(len(w), 3, 3, 1), s, KEY, running=0.5, axis_name=axis_name
        )[0],
        S,
    ),
    "probabilistic_transfer": (losses.probabilistic_transfer, S, T),
    "probabilistic_transfer, paper": (partial(losses.probabilistic_transfer, variant="paper"), S, T),
    "relational_angle": (losses.relational_angle, S, T),
    "relational_distance": (losses.relational_distance, S, T),
    "relic_contrast": (mean_of(losses.relic_contrast, temperature=0.2), S, T, (INDEX[:, None] + np.array([1, 3])) % 8),
    "relic_invariance": (
        lambda s, t, n, axis_name: collectives.mean(
            losses.relic_invariance(s, t, None, n, axis_name=axis_name)
            + losses.relic_invariance(s, t, (t * s, s), None, axis_name=axis_name),
            axis_name=axis_name,
        ),
        S, T, (INDEX[:, None] + np.array([1, 3])) % 8,
    ),
    "self_label": (lambda s, t, axis_name: losses.self_label(t, s, threshold=0.4, axis_name=axis_name), S, T),
    "similarity_preserving": (losses.similarity_preserving, MAPS, T),
    "singular_values": (losses.singular_values, S),
    "sinkhorn": (
        lambda s, t, axis_name: collectives.mean(
            s * losses.sinkhorn(t, epsilon=0.3, iterations=3, axis_name=axis_name), axis_name=axis_name
        ),
        S, T,
    ),
    "supervised_contrast": (
        mean_of(lambda x, y, **options: losses.supervised_contrast(x, y, **options), temperature=0.5, base_temperature=0.5),
        VIEWS, LABELS,
    ),
    "supervised_contrast, images": (
        mean_of(losses.supervised_contrast, temperature=0.5, base_temperature=0.5, anchors="first"), VIEWS
    ),
    "swav": (
        lambda v, q, axis_name: losses.swav(rows_second(v), rows_second(q), temperature=0.5, axis_name=axis_name),
        VIEWS, VIEWS[:, :2],
    ),
    "twist": (losses.twist, S, T),
    "twist_teacher": (
        lambda v, t, axis_name: losses.twist_teacher(rows_second(v), rows_second(t), axis_name=axis_name),
        VIEWS, VIEWS[::-1, :2].copy(),
    ),
    "uslt_global": (lambda s, w, axis_name: losses.uslt_global(w, s, threshold=0.4, axis_name=axis_name), S, T),
    "uslt_global, batch": (
        lambda s, w, axis_name: losses.uslt_global(w, s, threshold=0.4, variant="batch", axis_name=axis_name), S, T
    ),
    "uslt_mean": (
        lambda s, t, axis_name: collectives.mean(
            s * losses.uslt_mean(jnp.full(5, 0.2), t, axis_name=axis_name)[None], axis_name=axis_name
        ),
        S, T,
    ),
    "vibcreg": (losses.vibcreg, S, T),
    "vicreg": (losses.vicreg, S, T),
    "whiten": (lambda x, y, axis_name: collectives.mean(losses.whiten(x, axis_name=axis_name) * y, axis_name=axis_name), S, T),
}  # fmt: skip


def test_every_loss_that_takes_an_axis_is_above():
    takes = {name for name in losses.__all__ if "axis_name" in inspect.signature(getattr(losses, name)).parameters}
    assert {getattr(losses, n) for n in takes} <= {getattr(losses, n.split(",")[0]) for n in CASES}


def mesh(kind):
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


@pytest.mark.parametrize("name", CASES)
def test_explicit_axes_and_default_checks(name):
    loss, *rows = CASES[name]
    value, gradient = jax.jit(jax.value_and_grad(partial(loss, axis_name=None)))(*rows)
    expected = np.float64(gradient)

    # `jax.make_mesh` makes such axes where nothing else is said.
    spread = jax.device_put(rows, NamedSharding(mesh(AxisType.Explicit), P("data")))
    explicit = jax.jit(jax.value_and_grad(partial(loss, axis_name=None)))(*spread)
    same_value(explicit[0], np.float64(value))
    assert np.allclose(explicit[1], expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    # Declared the same on every device, which `shard_map` refuses unless it can tell.
    over = jax.shard_map(partial(loss, axis_name="data"), mesh=mesh(AxisType.Auto), in_specs=P("data"), out_specs=P())
    mapped = jax.jit(jax.value_and_grad(over))(*rows)
    same_value(mapped[0], np.float64(value))
    assert np.allclose(mapped[1], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
