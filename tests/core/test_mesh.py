"""Functions on meshes of Explicit axes, where JAX refuses what it cannot place."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax import core
from kdjax.core.mesh import on_any_mesh, places_of, rows_of

ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
WHOLE, BY_ROW = P(), P("data")


def put(x, spec, mesh=None):
    return jax.device_put(x, NamedSharding(mesh or jax.make_mesh((2,), ("data",), devices=jax.devices()[:2]), spec))


def spec(x):
    """Of a device's part, without the trailing axes that are whole."""
    return tuple(x.sharding.spec[:1]) if any(x.sharding.spec) else ()


def step(state, batch, key):
    """Sums over rows, whose place JAX does not choose by itself."""
    x = batch["x"]
    return state | {"w": state["w"] + (x.T @ x) @ state["w"]}, {"loss": jnp.sum(x.T @ x)}


def method():
    return core.Method(
        lambda key, batch, given: {"w": batch["x"].T @ batch["x"], "none": None},
        step,
        lambda state, inputs: {"net": {"logits": inputs @ state["w"], "similarity": inputs @ inputs.T}},
        lambda state: state,
    )


STATE = {"w": WEIGHTS, "none": None}
EXPECTED = WEIGHTS + ROWS.T @ ROWS @ WEIGHTS


@pytest.mark.parametrize("compiled", [jax.jit, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize("place", [WHOLE, P("data"), P(None, "data")])
def test_a_step_leaves_its_state_where_it_lay(compiled, place):
    state, batch = put(STATE, place), {"x": put(ROWS, BY_ROW)}
    with pytest.raises(Exception, match="Contracting dimensions are sharded"):  # JAX keeps its class private
        compiled(step)(state, batch, None)
    new, metrics = compiled(method().step)(state, batch, key=None)
    np.testing.assert_allclose(new["w"], EXPECTED, rtol=1e-5, atol=1e-6)
    assert new["w"].sharding.is_equivalent_to(state["w"].sharding, 2) and new["none"] is None
    assert metrics["loss"].sharding.is_fully_replicated
    assert batch["x"].sharding.spec == BY_ROW


def test_a_first_state_is_everywhere_and_predictions_lie_as_their_inputs():
    state = jax.jit(method().init)(None, {"x": put(ROWS, BY_ROW)}, {})
    assert state["w"].sharding.is_fully_replicated
    np.testing.assert_allclose(state["w"], ROWS.T @ ROWS, rtol=1e-5, atol=1e-6)
    taps = jax.jit(method().predict)(put(STATE, WHOLE), put(ROWS, BY_ROW))["net"]
    assert spec(taps["logits"]) == spec(taps["similarity"]) == ("data",)
    np.testing.assert_allclose(taps["similarity"], ROWS @ ROWS.T, rtol=1e-5, atol=1e-6)


def test_steps_in_a_row_are_one_program():
    traces = []

    def counted(state, batch, key):
        traces.append(jax.typeof(batch["x"]).sharding.spec)
        return step(state, batch, key)

    update = core.donating(method()._replace(step=counted).step)
    state, batch = put(STATE, WHOLE), {"x": put(ROWS / 9, BY_ROW)}
    for _ in range(3):
        state, _ = update(state, batch, None)
    assert traces == [P(None, None)]  # what is inside sees no Explicit axis


def test_without_explicit_axes_the_function_is_called_as_it_is():
    same = on_any_mesh(lambda x, y: (x, y), lambda *_: pytest.fail("no place is asked for"))
    auto = put(ROWS, BY_ROW, jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2]))
    for x in (ROWS, jnp.asarray(ROWS), auto, 1.0, np.array(["a name"])):
        assert same(x, None)[0] is x
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    x = jax.jit(jax.shard_map(lambda x: same(x, None)[0], mesh=mesh, in_specs=BY_ROW, out_specs=BY_ROW))(put(ROWS, BY_ROW, mesh))
    np.testing.assert_array_equal(x, ROWS)


def test_axes_of_other_kinds_stay():
    """One axis Explicit beside one that is Auto, and beside one by hand."""
    grid = partial(jax.make_mesh, (2, 2), ("data", "model"), devices=jax.devices()[:4])
    mesh = grid((AxisType.Explicit, AxisType.Auto))
    new, _ = jax.jit(method().step)(put(STATE, P(None, "model"), mesh), {"x": put(ROWS, BY_ROW, mesh)}, None)
    np.testing.assert_allclose(new["w"], EXPECTED, rtol=1e-5, atol=1e-6)

    def by_hand(state, batch, key):
        x = jax.lax.all_gather(batch["x"], "model", tiled=True)
        return step(state, {"x": x}, key)[0]["w"][None]

    one = on_any_mesh(by_hand, lambda *_: P())
    specs = {"in_specs": (P(), P("model"), P()), "out_specs": P("model")}
    mapped = jax.shard_map(one, mesh=grid(), axis_names={"model"}, **specs)
    w = jax.jit(mapped)(put({"w": WEIGHTS}, WHOLE, grid()), {"x": put(ROWS, P(("model", "data")), grid())}, None)
    np.testing.assert_allclose(w, np.stack([EXPECTED] * 2), rtol=1e-5, atol=1e-6)


def test_members_and_a_mesh_in_context():
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        state, batch = put({"w": np.stack([WEIGHTS, WEIGHTS])}, WHOLE, mesh), {"x": put(ROWS, BY_ROW, mesh)}
        new, _ = jax.jit(jax.vmap(method().step, in_axes=(0, None, None)))(state, batch, None)
    np.testing.assert_allclose(new["w"], np.stack([EXPECTED] * 2), rtol=1e-5, atol=1e-6)


def test_places_are_read_from_types():
    tree = {"a": put(ROWS, P(None, "data")), "b": put(ROWS, BY_ROW), "c": ROWS, "d": 1.0}
    assert places_of(tree) == {"a": P(None, "data"), "b": P("data", None), "c": P(None, None), "d": P()}
    assert rows_of(tree) == P("data") and rows_of({"a": tree["a"]}) == rows_of({}) == P()
