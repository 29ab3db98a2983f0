import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from kdjax import core

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
KEEP = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)


def over(parts, f, *rows):
    """`f(*rows, "data")` with the rows on `parts` devices; the result of each."""
    split = [jnp.asarray(r).reshape(parts, -1, *np.shape(r)[1:]) for r in rows]
    return jax.vmap(lambda *r: f(*r, "data"), axis_name="data")(*split)


def test_without_an_axis_all_are_the_identity():
    tree = {"a": X, "n": jnp.int32(3)}
    assert core.psum(tree) is tree and core.pmean(tree) is tree and core.gather(X) is X and core.offset(5) == 0


def test_sums_means_rows_and_offsets_are_global():
    np.testing.assert_allclose(over(2, lambda x, a: core.psum(x.sum(0), a), X), [X.sum(0)] * 2, rtol=1e-5)
    np.testing.assert_allclose(over(4, lambda x, a: core.pmean(x.mean(0), a), X), [X.mean(0)] * 4, rtol=1e-5)
    np.testing.assert_array_equal(over(4, core.gather, X), [X] * 4)
    np.testing.assert_array_equal(over(4, lambda x, a: core.offset(len(x), a), X), [0, 2, 4, 6])


def test_an_average_leaves_counters_and_keys_alone():
    def f(x, a):
        tree = {"x": x, "low": x.astype(jnp.bfloat16), "count": x.astype(jnp.int32), "key": jax.random.key(3)}
        return core.pmean(tree, a)

    out = over(2, f, np.array([1.0, 4.0], np.float32))
    assert out["x"].tolist() == [[2.5], [2.5]] and out["low"].dtype == jnp.bfloat16 and out["low"].tolist() == [[2.5], [2.5]]
    assert out["count"].tolist() == [[1], [4]]
    np.testing.assert_array_equal(jax.random.key_data(out["key"][0]), jax.random.key_data(jax.random.key(3)))


def test_nothing_travels_for_what_is_the_same_everywhere():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def averaged(check):
        f = lambda w, x: (core.pmean(w, "data"), core.pmean(x, "data"))  # noqa: E731
        spread = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check))
        return spread(2.0, X[:, 0])[1][0], spread.lower(2.0, X[:, 0]).as_text().count('all_reduce"')

    told, untold = averaged(True), averaged(False)
    np.testing.assert_allclose([told[0], untold[0]], X[:, 0].mean(), rtol=1e-6)
    assert (told[1], untold[1]) == (1, 2)  # without checks no type says what is the same


def test_rows_that_are_everywhere_are_known_to_be_the_same():
    assert core.gather_replicated(X) is X
    np.testing.assert_array_equal(over(4, core.gather_replicated, X)[2], X)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    same = jax.shard_map(
        lambda x: core.gather_replicated(x, "data"), mesh=mesh, in_specs=P("data"), out_specs=P()
    )  # refuses what may differ
    np.testing.assert_array_equal(jax.jit(same)(X), X)


def test_gradients_flow_back_through_gather():
    def total_loss(x):
        each = over(2, lambda rows, a: jnp.sum(rows[:1] * core.gather(rows, a)), x)
        return jnp.sum(each)

    expected = jax.grad(lambda x: jnp.sum(x[:1] * x) + jnp.sum(x[4:5] * x))(X)
    np.testing.assert_allclose(jax.grad(total_loss)(X), expected, rtol=1e-5)


def test_a_masked_mean_counts_over_all_devices():
    x = X[:, 0]
    for parts in (1, 2, 4):
        np.testing.assert_allclose(over(parts, lambda v, m, a: core.mean(v, m, a), x, KEEP), [x[KEEP].mean()] * parts, rtol=1e-6)
    np.testing.assert_allclose(core.mean(X, KEEP[:, None]), X[KEEP].mean(), rtol=1e-6)
    np.testing.assert_allclose(core.mean(X, KEEP[:, None].astype(np.float32)), X[KEEP].mean(), rtol=1e-6)
    np.testing.assert_allclose(over(4, lambda v, a: core.mean(v, None, a), X), [X.mean()] * 4, rtol=1e-5)


def test_an_empty_mask_gives_zero_and_masked_rows_cannot_poison():
    x = jnp.array([1.0, jnp.nan, jnp.inf])
    assert core.mean(x, jnp.zeros(3, bool)) == 0
    value, gradient = jax.value_and_grad(core.mean)(x, jnp.array([True, False, False]))
    assert value == 1.0 and gradient.tolist() == [1.0, 0.0, 0.0]


def test_a_mean_of_small_numbers_is_float32():
    x = jnp.full(4096, 1.0, jnp.bfloat16).at[0].set(9.0)
    assert core.mean(x).dtype == jnp.float32
    np.testing.assert_allclose(core.mean(x), 1 + 8 / 4096, rtol=1e-6)
