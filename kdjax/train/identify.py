"""The identity of a stage, from what is traced of it."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kdjax.core import Frozen, InputError
from kdjax.data import one_row
from kdjax.train import fingerprint
from kdjax.train.block import augmented
from kdjax.train.evaluation import selects_best
from kdjax.train.feed import sampler_of
from kdjax.train.host_code import of_host_code
from kdjax.train.identity import Identity, cause
from kdjax.train.processes import gathered
from kdjax.train.program import trace
from kdjax.train.run import Run
from kdjax.train.stage import Result, Stage, blank_batch, score_of, sources_of
from kdjax.train.teacher_cache.spec import decode, encode


def identity_of(name: str, stage: Stage, run: Run, given: Mapping[str, Frozen], results: Mapping[str, Result]) -> Identity:
    """The identity of a stage; all processes must call it.

    Two stages that compute different things differ in it, whatever made them, and two that compute the same do not: the number of
    devices, the wrapper around a step and the code that is not traced are no part of it.

    Args:
      name: the stage's.
      stage: whose.
      run: the run.
      given: the weights it is given.
      results: of earlier stages.

    Raises:
      InputError: where the stage cannot be traced on a single device, and where processes would compute different things.
    """
    measures = of_host_code([stage.evaluate, stage.samples])
    inputs = _inputs(stage, run, given, results)
    if _is_judged(stage, run):
        inputs["measures, by which its steps are told apart"] = measures
    parts = {"settings": _settings(stage, run), "inputs": inputs, "programs": _programs(name, stage, run, given)}
    platform = {k: v for k, v in fingerprint.of_platform().items() if k != "devices"}
    told = {"about": dict(stage.about), "platform": platform}
    parts, told = json.loads(json.dumps([parts, told], default=repr))
    own = Identity(parts, told, measures)
    for process, other in enumerate(gathered(own.written())):
        if different := cause(other, own):
            raise InputError(f"process {process} was started with {different} in stage {name!r}: expected the same everywhere")
    return own


def _is_judged(stage: Stage, run: Run) -> bool:
    """Whether the result follows from what was measured on the way."""
    return run.test_curve or selects_best(stage, run)


def _settings(stage: Stage, run: Run) -> dict[str, Any]:
    cache = stage.teacher_cache
    return {
        "seed": run.seed, "data_seed": run.data_seed, "share": run.share, "how": run.how,
        "select": "last" if stage.intermediate else run.select, "test_curve": run.test_curve, "choose": stage.choose,
        "score": [stage.score, score_of(stage).sign] if stage.choose or _is_judged(stage, run) else None,
        "steps": stage.steps, "batch": stage.batch, "pace": stage.pace._asdict(), "members": stage.members, "seeds": stage.seeds,
        "hyper": {name: np.asarray(values, np.float64).tolist() for name, values in (stage.hyper or {}).items()},
        "refresh_every": stage.refresh_every, "nets": dict(stage.nets),
        "teacher_cache": cache and {"views": cache.views, "taps": cache.taps, "top": cache.top, "dtype": cache.dtype},
    }  # fmt: skip


def _inputs(stage: Stage, run: Run, given: Mapping[str, Frozen], results: Mapping[str, Result]) -> dict[str, str]:
    found = {"data": run.digest}
    if stage.source is not None:
        found["rows or labels"] = fingerprint.of_rows(stage.source)
        found["order of rows"] = fingerprint.of_sampler(sampler_of(stage), stage.steps)
    found |= {f"weights of {name}": value.source for name, value in given.items()}
    if stage.start:
        found["weights to start from"] = fingerprint.of_json([one.source() for one in stage.start])
    if stage.warm_start:
        found |= {f"weights of {name}": results[name].digest for name in sources_of(stage)}
        found["code of its warm start"] = of_host_code(stage.warm_start)
    if stage.refresh:
        found["code of its refresh"] = of_host_code(stage.refresh)
    return found


def _programs(name: str, stage: Stage, run: Run, given: Mapping[str, Frozen]) -> dict[str, str]:
    """Digests of all that is traced, for one member on one device."""
    method, key, batch = stage.unmapped or stage.method, jax.random.key(0), blank_batch(stage)
    found = {}
    try:
        found["initialisation"], state = trace(method.init, key, batch, dict(given))
        found["step"], _ = trace(method.step, state, batch, key)
        row = one_row(run.splits["test"])
        found["prediction"], _ = trace(lambda state, row: method.predict(state, stage.view(row)), state, row)
    except NameError as error:  # JAX's word for an axis that nothing maps over
        wanted = "expected the same method built with axis_name=None as its Stage.unmapped"
        raise InputError(f"stage {name!r} is built for a mapped axis ({error}): {wanted}") from None
    if stage.source is not None:
        rows = {k: np.broadcast_to(x, (stage.batch, *x.shape[1:])) for k, x in one_row(stage.source).items()}
        found["augmentation"], _ = trace(lambda key, rows: augmented(stage, key, rows, 0), key, rows)
    if (cache := stage.teacher_cache) is not None:
        found["teacher outputs"], _ = trace(lambda taps: decode(cache, encode(cache, taps)), batch["teacher"])
    return found
