"""Digests of programs that change when, and only when, what is computed does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.train.program import reads, trace

X = jax.ShapeDtypeStruct((3, 2), np.float32)


def digest(f, *args):
    return trace(f, *(args or (X,)))[0]


def doubled_by(add):
    """`x -> x + x`, under other names and from other lines."""
    return lambda x: jax.jit(add)(x, x)


def plus(a, b):
    return a + b


def other_name(first, second):
    # the same sum
    return first + second


def test_names_and_places_in_a_file_do_not_count():
    assert digest(doubled_by(plus)) == digest(doubled_by(other_name)) == digest(doubled_by(lambda a, b: a + b))
    assert digest(doubled_by(plus)) != digest(doubled_by(lambda a, b: a - b))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: f,
        jax.jit,
        lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0],
        lambda f: lambda x: jax.lax.cond(x[0, 0] > 0, f, lambda x: x, x),
        lambda f: jax.grad(lambda x: f(x).sum()),
        lambda f: lambda x: jax.pure_callback(lambda x: np.asarray(f(x)), X, x),
    ],
    ids=["plain", "jit", "scan", "cond", "grad", "callback"],
)
def test_constants_count_by_their_numbers_wherever_they_are_held(wrap):
    def with_matrix(matrix):
        return digest(wrap(lambda x: jnp.sin(x) @ matrix))

    matrix = np.eye(2, dtype=np.float32)
    assert with_matrix(matrix) == with_matrix(matrix.copy()) == with_matrix(np.eye(2, dtype=np.float32))
    assert with_matrix(matrix) != with_matrix(matrix + np.float32(1e-6))


def test_rules_of_differentiation_count_where_they_are_used():
    def halved(factor):
        @jax.custom_vjp
        def f(x):
            return x / 2

        f.defvjp(lambda x: (f(x), None), lambda _, g: (factor * g,))
        return f

    assert digest(halved(1.0)) == digest(halved(2.0))
    assert digest(jax.grad(lambda x: halved(1.0)(x).sum())) != digest(jax.grad(lambda x: halved(2.0)(x).sum()))


def test_shapes_types_options_and_names_of_arrays_count():
    def f(tree):
        return {"sum": tree["a"].sum(0), "b": tree["b"]}

    arguments = {"a": X, "b": X}
    others = [
        digest(f, {"a": jax.ShapeDtypeStruct((3, 3), np.float32), "b": X}),
        digest(f, {"a": jax.ShapeDtypeStruct((3, 2), np.int32), "b": X}),
        digest(lambda tree: {"sum": tree["a"].sum(1), "b": tree["b"]}, arguments),
        digest(lambda tree: {"sum": tree["a"].sum(0), "c": tree["b"]}, arguments),
        digest(lambda tree: {"sum": tree["b"].sum(0), "b": tree["a"]}, arguments),
        digest(lambda x: f({"a": x["a"], "b": x["c"]}), {"a": X, "c": X}),
    ]
    assert len({digest(f, arguments), *others}) == 7


def test_random_keys_count_by_their_numbers():
    def noise(seed):
        key = jax.random.key(seed)
        return digest(lambda x: x + jax.random.normal(key, x.shape))

    assert noise(0) == noise(0) != noise(1)


def test_places_on_devices_do_not_count():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    placed = jax.jit(lambda x: 2 * x, out_shardings=jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    assert digest(placed) == digest(jax.jit(lambda x: 2 * x))

    def spread(devices):
        mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        return digest(lambda x: jax.lax.with_sharding_constraint(x, place), jax.ShapeDtypeStruct((8,), np.float32))

    assert spread(2) == spread(4)


def test_reads_is_what_a_function_looks_at():
    state = {"params": X, "queue": X, "same": X}
    assert reads(lambda s, x: (jax.jit(jnp.dot)(s["params"], x), s["same"]), state, jnp.ones((2, 1))) == [0, 2]
    assert reads(lambda s: 0.0, state) == []
