"""What a step of a method moves between eight devices, what memory it takes over, and that it never asks the host."""

import jax
import pytest
from cases import CASES, start
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.core import Learner, on_parts, split
from launch.bench.collectives import collectives

# How often a gradient travels, and how many further float32: statistics of batch norms and what their gradients need, sums of
# losses; where rows see each other, what the batch shares. None of it grows with the teacher, the banks or the images.
MOVED = {
    "kd": (1, 16),
    "byol": (2, 136),  # a gradient for each view
    "dafl": (1, 190),
    "crd": (1, 2 * 16 * 128 + 80),  # the batch's rows of both banks
    "swav": (2, 1000),  # scores, Sinkhorn's sums in each of its rounds
}


def spread(method, how, state, batch):
    """The program for eight devices of `(moving, frozen, batch, key)`."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    moving, frozen = split(state)
    step, specs = on_parts(method.step), (P(), P(), P("data"), P())
    if how == "shard_map":
        step, places = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P()), {}
    else:
        here = tuple(NamedSharding(mesh, spec) for spec in specs)
        places = {"in_shardings": here, "out_shardings": here[0]}
    return jax.jit(step, donate_argnums=0, **places).lower(moving, frozen, batch, jax.random.key(0)).compile()


def size(tree):
    return sum(x.nbytes for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(("name", "how"), [*((name, "jit") for name in MOVED), ("kd", "shard_map"), ("crd", "shard_map")])
def test_a_step_moves_its_gradient_and_takes_over_its_memory(name, how):
    case = CASES[name](axis_name=None if how == "jit" else "data")
    state = start(case._replace(method=CASES[name]().method))
    compiled = spread(case.method, how, state, case.batch)
    text, moving = compiled.as_text(), split(state)[0]
    learners = [x for x in jax.tree.leaves(moving, is_leaf=lambda x: isinstance(x, Learner)) if isinstance(x, Learner)]
    gradient, (often, more) = size([x.params for x in learners]), MOVED[name]
    sent = collectives(text)
    assert gradient <= sum(x.bytes * x.times for x in sent) <= often * gradient + 4 * more
    assert compiled.memory_analysis().alias_size_in_bytes == size(moving)
    assert "callback" not in text and "infeed" not in text and "outfeed" not in text
    if name == "kd":  # statistics, their gradient, all other gradients
        assert [x.kind for x in sent] == ["all-reduce"] * 3
