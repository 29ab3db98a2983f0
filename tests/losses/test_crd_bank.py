import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import refused, same_value

from kdjax import losses

RNG = np.random.default_rng(10)
LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 0])
KEY = jax.random.key(1)


@functools.partial(jax.jit, static_argnames=("negatives", "positive"))
def draws(keys, index, negatives, positive="exact"):
    """`[draws, B, 1 + K]`."""
    return jax.vmap(lambda k: losses.crd_contrast(k, index, LABELS, negatives=negatives, positive=positive))(keys)


def test_bank_begins_uniform_with_length_one_on_average():
    bank = np.asarray(losses.crd_bank(KEY, rows=2000, width=12))
    assert bank.shape == (2000, 12) and bank.dtype == np.float32
    a = 1 / np.sqrt(4)
    assert 0.99 * a < bank.max() <= a and -a <= bank.min() < -0.99 * a
    assert abs((bank**2).sum(1).mean() - 1) < 0.03 and abs(bank.mean()) < 0.01


def test_negatives_are_of_other_classes_without_repeats():
    rows = np.asarray(draws(jax.random.split(KEY, 50), np.array([0, 3, 1]), 4))
    assert rows.dtype == np.int32 and rows.shape == (50, 3, 5)
    assert (rows[..., 0] == [0, 3, 1]).all()
    assert (LABELS[rows[..., 1:]] != LABELS[[0, 3, 1]][None, :, None]).all()
    assert all(len(set(row)) == 4 for row in rows[..., 1:].reshape(-1, 4).tolist())


def test_without_repeats_up_to_the_whole_pool():
    (row,) = np.asarray(draws(jax.random.split(KEY, 1), np.array([0]), 4))[0]
    assert sorted(row[1:]) == [1, 3, 4, 6]


@pytest.mark.parametrize(("negatives", "row"), [(2, 3), (9, 3), (9, 0)])
def test_negatives_are_uniform(negatives, row):
    # 6 or 4 images of another class: 9 negatives repeat, 2 do not. K may exceed even the size of the data set.
    n = 4000
    rows = np.asarray(draws(jax.random.split(KEY, n), np.array([row]), negatives))[:, 0, 1:]
    pool = np.flatnonzero(LABELS[row] != LABELS)
    for column in (0, negatives - 1):
        counts = np.bincount(rows[:, column], minlength=8)
        assert counts.sum() == counts[pool].sum() == n
        expected = n / len(pool)
        assert np.abs(counts[pool] - expected).max() < 5 * np.sqrt(expected)
    if negatives > len(pool):
        first, second = rows[:, 0], rows[:, 1]
        assert abs(np.mean(first == second) - 1 / len(pool)) < 0.03
    else:
        pairs = np.bincount(rows[:, 0] * 8 + rows[:, 1], minlength=64)
        expected = n / (len(pool) * (len(pool) - 1))
        assert np.count_nonzero(pairs) == 30 and np.abs(pairs[pairs > 0] - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("positive", ["exact", "relax"])
def test_labels_that_are_not_known_while_tracing(positive):
    draw = jax.jit(lambda labels: losses.crd_contrast(KEY, np.arange(8), labels, negatives=2, positive=positive))
    rows = draw(LABELS)
    assert (LABELS[rows[:, 0]] == LABELS).all() and (LABELS[rows[:, 1:]] != LABELS[:, None]).all()
    assert (rows[:, 1] != rows[:, 2]).all()


def test_relaxed_positives_are_uniform_in_the_class():
    rows = np.asarray(draws(jax.random.split(KEY, 4000), np.array([2]), 2, positive="relax"))[:, 0]
    counts = np.bincount(rows[:, 0], minlength=8)
    assert counts[LABELS == 0].sum() == 4000
    assert np.abs(counts[LABELS == 0] - 1000).max() < 5 * np.sqrt(1000)
    assert (LABELS[rows[:, 1:]] != 0).all()


def test_a_draw_depends_on_the_key_and_the_image_alone():
    keys = jax.random.split(KEY, 50)
    many = draws(keys, np.array([5, 3, 1]), 4)
    # Their places in the batch do not matter.
    np.testing.assert_array_equal(many[:, ::-1], draws(keys, np.array([1, 3, 5]), 4))
    assert (many[0] != many[1]).any()
    # Images of one class draw apart.
    same = draws(keys, np.array([0, 2, 5]), 4)
    assert (same[:, 0, 1:] != same[:, 1, 1:]).any()


BANK, ROWS = RNG.normal(size=(6, 3)).astype(np.float32), RNG.normal(size=(4, 3)).astype(np.float32)
INDEX = np.array([4, 0, 5, 2])


def updated(momentum):
    bank = np.float64(BANK)
    rows = np.float64(ROWS) / np.linalg.norm(ROWS, axis=1, keepdims=True)
    moved = momentum * bank[INDEX] + (1 - momentum) * rows
    bank[INDEX] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return bank


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_update(momentum):
    after = losses.crd_update(BANK, ROWS, INDEX, momentum=momentum)
    np.testing.assert_allclose(after, updated(momentum), atol=1e-6)
    np.testing.assert_array_equal(after[jnp.array([1, 3])], BANK[[1, 3]])


def test_update_default_momentum_and_sweeps():
    np.testing.assert_allclose(losses.crd_update(BANK, ROWS, INDEX), updated(0.5), atol=1e-6)
    swept = jax.vmap(lambda m: losses.crd_update(BANK, ROWS, INDEX, momentum=m))(jnp.array([0.0, 0.9]))
    np.testing.assert_allclose(swept, np.stack([updated(0.0), updated(0.9)]), atol=1e-6)


def test_update_of_halves_equals_whole():
    split = jax.vmap(lambda rows, index: losses.crd_update(BANK, rows, index, axis_name="data"), axis_name="data")
    for bank in split(ROWS.reshape(2, 2, 3), INDEX.reshape(2, 2)):
        np.testing.assert_allclose(bank, updated(0.5), atol=1e-6)


def test_update_is_the_same_on_every_device_for_shard_map():
    # shard_map refuses a result declared the same everywhere unless it can tell that it is.
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    spec = jax.sharding.PartitionSpec
    update = functools.partial(losses.crd_update, axis_name="data")
    sharded = jax.shard_map(update, mesh=mesh, in_specs=(spec(), spec("data"), spec("data")), out_specs=spec())
    np.testing.assert_allclose(jax.jit(sharded)(BANK, ROWS, INDEX), updated(0.5), atol=1e-6)


def test_update_passes_no_gradient_and_keeps_the_type():
    bank, rows = jax.grad(lambda b, r: jnp.sum(losses.crd_update(b, r, INDEX)), argnums=(0, 1))(BANK, ROWS)
    assert not bank.any() and not rows.any()
    low = losses.crd_update(BANK.astype(jnp.bfloat16), ROWS.astype(jnp.bfloat16), INDEX)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), updated(0.5), atol=0.02)


def test_update_by_extreme_and_zero_embeddings():
    same_value(losses.crd_update(BANK, 1e4 * ROWS, INDEX), np.float64(losses.crd_update(BANK, ROWS, INDEX)), 1e-4)
    assert jnp.all(jnp.isfinite(losses.crd_update(0 * BANK, 0 * ROWS, INDEX)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.crd_bank(KEY, rows=0, width=3), ["rows=0", "1 or more"]),
        (lambda: losses.crd_bank(KEY, rows=3, width=2.0), ["width=2.0"]),
        (lambda: losses.crd_contrast(KEY, np.int32(1), LABELS), ["index", "()", "[B]"]),
        (lambda: losses.crd_contrast(KEY, np.zeros(2), LABELS), ["index", "float", "integer"]),
        (lambda: losses.crd_contrast(KEY, INDEX, np.zeros(9)), ["labels", "float", "integer"]),
        (lambda: losses.crd_contrast(KEY, INDEX, LABELS, negatives=0), ["negatives=0", "1 or more"]),
        (lambda: losses.crd_contrast(KEY, INDEX, LABELS, negatives=True), ["negatives=True"]),
        (lambda: losses.crd_contrast(KEY, INDEX, LABELS, positive="own"), ["positive='own'", "'exact'", "'relax'"]),
        (lambda: losses.crd_contrast(KEY, INDEX, np.ones(9, int)), ["labels", "9 images", "single class"]),
        (lambda: losses.crd_update(BANK[0], ROWS, INDEX), ["bank", "(3,)", "[N, D]"]),
        (lambda: losses.crd_update(BANK, ROWS[:, :2], INDEX), ["embeddings", "(4, 2)", "bank", "(6, 3)"]),
        (lambda: losses.crd_update(BANK, ROWS, INDEX[:1]), ["index", "(1,)", "(4, 3)"]),
        (lambda: losses.crd_update(BANK, ROWS, INDEX, momentum=1.0), ["momentum=1.0", "[0, 1)"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
