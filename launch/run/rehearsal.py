"""Every stage of a run on shapes alone: what cannot be is refused before anything is trained."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError, check_memory, split
from kdjax.core.memory import in_units
from kdjax.train import Result
from kdjax.train.devices import AXIS, Devices
from kdjax.train.stage import blank_batch, check_stage
from kdjax.train.start import begin
from kdjax.train.sweep import at_point, points_to_check

ARRAY = 2048  # bytes that JAX and Python hold beside the numbers of an array
MANY = 1000  # networks, from which on it is said what they take
_DROPPED = "--config.data.keep_last_batch=False drops them"
_KEPT_WHOLE = ("conv_general_dilated", "dot_general")  # whose results no compiler leaves out


def rehearse(stages: Mapping[str, Any], devices: Devices) -> list[str]:
    """Traces every stage, every point of a sweep with its numbers.

    Returns:
      what stages of very many networks will take, in words.

    Raises:
      InputError: for a bad option of any stage, and for what does not fit into memory.
    """
    told: list[str] = []

    def all_stages():
        results: dict[str, Result] = {}
        for name, stage in stages.items():
            given = stage.given(results)
            check_stage(name, stage, given)
            _check_batches(name, stage, devices)
            try:
                with jax.named_scope(name):
                    state = _steps(name, stage, given, told)
            except (InputError, KeyError) as error:
                if stage.teacher_cache is None:
                    raise
                _steps(name, stage._replace(teacher_cache=None), given, [])  # what is wrong besides
                more = f"the method asks for more of the teacher than is kept ({error})"
                raise InputError(f"--config.cache.taps={stage.teacher_cache.taps} is not accepted: {more}") from None
            weights = {n: {"params": params, "stats": stats} for n, (params, stats) in stage.method.weights(state).items()}
            members = jax.tree.map(lambda x, n=stage.members: jnp.broadcast_to(x, (n, *x.shape)), weights)
            results[name] = Result(members, {}, name, 0)

    _check_sizes(jax.make_jaxpr(all_stages)().jaxpr)
    return told


def _check_batches(name: str, stage: Any, devices: Devices) -> None:
    """Refuses batches that the devices cannot share out, also the smaller one that an epoch may end with."""
    expected = f"expected a multiple of {devices.size}, the devices"
    if stage.batch % devices.size:
        raise InputError(f"stage {name!r} has batches of {stage.batch} images: {expected}")
    rest = stage.sampler.rest if stage.sampler else 0
    if rest % devices.size or rest == 1:
        ends = f"stage {name!r} ends an epoch with {rest} image{'s' * (rest > 1)}"
        raise InputError(f"{ends}: {expected if rest > 1 else 'expected 2 or more'}; {_DROPPED}")


def _steps(name: str, stage: Any, given: dict, told: list[str]) -> Any:
    """A step with numbers that nobody knows yet, as it is trained, and one at every point of a sweep; returns the State."""
    state = stage.method.init(jax.random.key(0), blank_batch(stage), given)
    for start in stage.start:
        state = begin(stage.method, state, start)
    _check_state(name, stage, state, told)

    def step(stage: Any, state: Any) -> None:
        batch, key = blank_batch(stage), jax.random.key(0)
        if stage.unmapped is None:
            stage.method.step(state, batch, key)
        else:  # one device under the name of many, so that a method built for a mapped axis finds it
            rows = jax.tree.map(lambda x: x[None], batch)
            jax.vmap(lambda batch: stage.method.step(state, batch, key), axis_name=AXIS)(rows)

    step(stage, state)
    for point in points_to_check(stage.hyper):  # its numbers are checked only where they are known
        with at_point(point):
            step(stage, state._replace(hyper=point))
    if rest := stage.sampler.rest if stage.sampler else 0:
        try:
            step(stage._replace(batch=rest), state)
        except InputError as error:
            raise InputError(f"{error}, in the last batch of an epoch; {_DROPPED}") from None
    return state


def _check_state(name: str, stage: Any, state: Any, told: list[str]) -> None:
    """Refuses more networks, or larger ones, than memory holds: what moves lies there once a member and once for all together."""
    moving, _ = split(state)
    leaves = jax.tree.leaves(moving)
    each = sum(2 * _bytes(x) + ARRAY for x in leaves)
    networks = f"{stage.members:,} networks" if stage.members > 1 else "a network"
    check_memory(
        f"stage {name!r}: {networks} with optimiser, {in_units(each)} each,",
        each * stage.members,
        "fewer seeds or points of a sweep, or smaller nets",
    )
    if stage.members >= MANY:
        steps = f"{stage.steps:,} steps of each"
        told.append(f"{name}: {networks}, {in_units(each * stage.members)} of memory, and {steps}: this may take long")


def _check_sizes(jaxpr: Any) -> None:
    """Refuses a step that holds a single array which is larger than all of memory."""
    if jax.default_backend() != "cpu":  # whose memory is another one
        return
    largest = max(_whole_arrays(jaxpr), key=lambda found: _bytes(found[1]), default=None)
    if largest:
        stage, x = largest
        what = f"an array of shape {tuple(x.shape)} in a step of stage {stage!r}"
        check_memory(what, _bytes(x), "smaller images, batches or nets")


def _whole_arrays(jaxpr: Any, scope: str = "") -> Iterator[tuple[str, Any]]:
    for equation in jaxpr.eqns:
        stage = scope or str(equation.source_info.name_stack).partition("/")[0]
        if equation.primitive.name in _KEPT_WHOLE:
            yield stage, equation.outvars[0].aval
        for inside in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inside = getattr(inside, "jaxpr", inside)
            if hasattr(inside, "eqns"):
                yield from _whole_arrays(inside, stage)


def _bytes(x: Any) -> int:
    size = 1
    for side in x.shape:
        size *= side
    return size * (16 if jnp.issubdtype(x.dtype, jax.dtypes.extended) else np.dtype(x.dtype).itemsize)
