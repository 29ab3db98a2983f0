"""The step of a stage as the training loop runs it, ready to be timed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Frozen, InputError, jit_fast_compile, join, split
from kdjax.data import resident
from kdjax.train import Result, Stage, stack
from kdjax.train.block import block
from kdjax.train.devices import Devices, place
from kdjax.train.feed import sampler_of
from kdjax.train.stage import blank_batch
from kdjax.train.teacher_cache.compute import teacher_outputs
from launch.bench.blank_run import blank_run
from launch.bench.program import Program, compile_program

UNTRAINED = "untrained "  # what the sources of random weights begin with


class Subject(NamedTuple):
    """Something whose steps are timed.

    Attributes:
      call: runs `steps` steps and returns what to wait for.
      steps: of a call.
      images: rows of a step, over all members.
      program: what is known of it; None for what XLA has not compiled.
    """

    call: Callable[[], Any]
    steps: int
    images: int
    program: Program | None = None


class Untrained(dict):
    """The results of stages that were not trained: random weights, made when a later stage asks for them."""

    def __init__(self, stages: Mapping[str, Stage]):
        super().__init__()
        self._stages = stages

    def __missing__(self, name: str) -> Result:
        stage = self._stages[name]
        state = new_state(stage, stage.given(self))
        weights = {n: {"params": params, "stats": stats} for n, (params, stats) in stage.method.weights(state).items()}
        members = jax.tree.map(lambda x: jnp.broadcast_to(x, (stage.members, *x.shape)), weights)
        self[name] = Result(members, {}, f"{UNTRAINED}{name}", 0)
        return self[name]


def specification_of(given: Frozen, stages: Mapping[str, Stage]) -> dict:
    """That of a network that an `Untrained` stage left.

    Raises:
      InputError: where it came from outside.
    """
    stage, _, network = given.source.removeprefix(UNTRAINED).rpartition("/")[0].partition("/")
    if not given.source.startswith(UNTRAINED):
        raise InputError("a teacher from outside is not accepted here: expected one that a stage trains")
    return stages[stage].nets[network]


def new_state(stage: Stage, given: dict, seed: int = 0) -> Any:
    """The State of one member at step 0."""
    init = jit_fast_compile(lambda key: stage.method.init(key, blank_batch(stage), jax.tree.map(jnp.zeros_like, given)))
    moving, blank = split(init(jax.random.key(seed)))
    by_source = {value.source: value for value in given.values()}
    return join(moving, [by_source[x.source] for x in blank])


def subject_of(name: str, stages: Mapping[str, Stage], devices: Devices, *, how: str, steps: int, folder: Path) -> Subject:
    """The compiled block of a stage, on images that lie on the device; stages that it is built on are not trained.

    Args:
      name: of the stage.
      stages: of its experiment.
      devices: of the run.
      how: members run, `"map"` or `"vmap"`.
      steps: of a block.
      folder: for the teacher's outputs, where the stage keeps them.
    """
    stage = stages[name]
    given = stage.given(Untrained(stages))
    state = stack([new_state(stage, given, i) for i in range(stage.members)])
    if stage.hyper:
        state = state._replace(hyper={k: jnp.asarray(v, jnp.float32) for k, v in stage.hyper.items()})
    moving, frozen = split(state)
    moving, frozen, key = place(moving, devices, lead=1), place(frozen, devices), jax.random.key(0)
    arrays = place(resident(stage.source), devices) if stage.source else None
    if stage.teacher_cache:
        stage = stage._replace(teacher_cache=stage.teacher_cache._replace(folder=str(folder)))
        outputs = teacher_outputs(name, stage, blank_run(folder, devices), given, key)
        arrays = {**(arrays or {}), "teacher": place(outputs.everything(), devices)}
    rows = np.stack([_rows(stage, step) for step in range(steps)])
    now = rows if stage.source else {"index": rows}
    args = (frozen, arrays, key, now, np.zeros(steps, np.int32), np.int32(0))
    compiled, program = compile_program(block(stage, state, how, False, devices), moving, *args)
    held = [moving]

    def call() -> Any:
        held[0], metrics = compiled(held[0], *args)
        return metrics

    return Subject(call, steps, stage.batch * stage.members, program.each(steps))


def _rows(stage: Stage, step: int) -> np.ndarray:
    """Those of a step, of whole batches alone."""
    if stage.source is None:
        return np.arange(stage.batch, dtype=np.int32)
    return sampler_of(stage).rows(0, step % (stage.source.size // stage.batch))
