from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import core
from kdjax.core.state import check_same_form


class Family(NamedTuple):
    student: core.Learner
    first: core.Frozen
    nested: dict
    target: core.Follower
    queue: core.Queue
    step: jax.Array
    nothing: Any = None


def family(tx):
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    frozen = [core.Frozen({"w": jnp.full(2, float(k)), "none": None}, {}, source=f"digest {k}") for k in range(3)]
    return Family(
        core.Learner(params, {}, tx.init(params)),
        frozen[0],
        {"b": [frozen[1], jnp.ones(1)], "c": frozen[2]},
        core.Follower(params, {"mean": jnp.zeros(3)}),
        core.new_queue(jnp.zeros((4, 2))),
        jnp.int32(3),
    )


TRANSFORMS = {
    "sgd": optax.sgd(0.1, momentum=None),
    "adam": optax.adamw(1e-3),
    "masked": optax.masked(optax.sgd(0.1, momentum=0.9), {"w": True, "b": False}),
    "two rates": optax.multi_transform({"a": optax.adam(1e-3), "b": optax.set_to_zero()}, {"w": "a", "b": "b"}),
}


def test_split_and_join_are_inverse():
    for tx in TRANSFORMS.values():
        state = family(tx)
        moving, frozen = core.split(state)
        assert [f.source for f in frozen] == ["digest 0", "digest 1", "digest 2"]
        back = core.join(moving, frozen)
        assert jax.tree.structure(back) == jax.tree.structure(state)
        assert all(a is b for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True))
        frozen_leaves = {id(x) for f in frozen for x in jax.tree.leaves(f)}
        assert not frozen_leaves & {id(x) for x in jax.tree.leaves(moving)}
        assert len(jax.tree.leaves(moving)) + len(frozen_leaves) == len(jax.tree.leaves(state))


def test_split_under_jit_keeps_the_holes():
    state = family(TRANSFORMS["adam"])
    moving, frozen = core.split(state)
    moved = jax.jit(lambda m: jax.tree.map(lambda x: x + 1, m))(moving)
    back = core.join(moved, frozen)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    np.testing.assert_array_equal(back.nested["b"][0].params["w"], [1, 1])
    np.testing.assert_array_equal(back.student.params["w"], np.full((2, 3), 2))


def test_a_state_without_frozen_parts():
    state = {"student": core.Learner({"w": jnp.ones(2)}, {}, None), "step": jnp.int32(0)}
    moving, frozen = core.split(state)
    assert frozen == [] and jax.tree.structure(core.join(moving, frozen)) == jax.tree.structure(state)


def test_the_source_is_part_of_the_program():
    a, b = (core.Frozen({"w": jnp.ones(2)}, {}, source=s) for s in "ab")
    assert jax.tree.structure(a) != jax.tree.structure(b)
    assert jax.tree.structure(a) == jax.tree.structure(a.replace(params={"w": jnp.zeros(2)}))


def test_kinds():
    state = family(TRANSFORMS["adam"])
    kinds = core.map_by_kind(state, moving=lambda _: "moving", frozen=lambda _: "frozen", step=lambda _: "step")
    assert jax.tree.structure(kinds) == jax.tree.structure(state)
    assert kinds.step == "step"
    for frozen in (kinds.first, *kinds.nested["b"][:1], kinds.nested["c"]):
        assert set(jax.tree.leaves(frozen)) == {"frozen"}
    moving = (kinds.student, kinds.nested["b"][1], kinds.target, kinds.queue)  # the optimiser's own count moves too
    assert set(jax.tree.leaves(moving)) == {"moving"}
    bare = core.map_by_kind(jnp.ones(1), moving=lambda _: "moving", frozen=lambda _: "frozen", step=lambda _: "step")
    assert bare == "moving"


@pytest.mark.parametrize(
    ("after", "line"),
    [
        ({"w": jnp.zeros(3), "step": jnp.int32(0)}, r"they differ in 'w': shapes: \(2,\) != \(3,\)\.$"),
        ({"w": jnp.zeros(2, jnp.int32), "step": jnp.int32(0)}, r"they differ in 'w': types: float32 != int32\.$"),
        ({"step": jnp.int32(0)}, "structs .* tree 1: PyTreeDef"),
    ],
)
def test_a_step_that_changes_the_form_of_its_state_is_refused(after, line):
    before = {"w": jnp.zeros(2), "step": jnp.int32(0)}
    check_same_form(before, jax.tree.map(lambda x: x, before))
    with pytest.raises(core.InputError, match="^the step of a method gives another State than it takes: .*" + line):
        check_same_form(before, after)
