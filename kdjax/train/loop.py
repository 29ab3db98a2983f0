"""The one training loop."""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError, join, split
from kdjax.core.files import remove
from kdjax.data import resident
from kdjax.train import frames
from kdjax.train.block import block
from kdjax.train.checkpoint import Checkpoints
from kdjax.train.collect import Collector, on_devices
from kdjax.train.devices import on_host, place
from kdjax.train.divergence import Diverged, check_losses, check_weights, ended
from kdjax.train.evaluation import at_best, evaluate_at_end, evaluate_on_the_way, selects_best
from kdjax.train.feed import Chunk, feed
from kdjax.train.identify import identity_of
from kdjax.train.initial_state import initial_state
from kdjax.train.members import stack, unstack
from kdjax.train.processes import first, gathered
from kdjax.train.refresh import refresher
from kdjax.train.run import Run, Stopped, name_damaged
from kdjax.train.stage import Result, Stage, check_stage, score_of, seeds_of
from kdjax.train.stage_cache import clear, keep, machine_of, read_back
from kdjax.train.sweep import choose
from kdjax.train.teacher_cache.compute import check_outputs, teacher_outputs
from kdjax.train.trace_once import trace_once


def run_stages(stages: dict[str, Stage], run: Run) -> dict[str, Result]:
    """Runs stages in order; what is finished is read back, what was begun is resumed.

    An optional stage that diverges is left out of the results, and so are those that are built on it.

    Raises:
      InputError: when something given, or found on disk, is refused.
      Stopped: after a clean save, when `run.stop` asks for it.
      Diverged: when a stage that is not optional is lost in all of its members.
    """
    for asked, name in ((run.select == "best", "select='best'"), (any(s.choose for s in stages.values()), "a sweep that chooses")):
        if asked and "val" not in run.splits:
            raise InputError(f"{name} is not accepted: it needs validation images")
    stages = {name: trace_once(stage) for name, stage in stages.items()}
    for name, stage in stages.items():
        check_outputs(name, stage, run)
    (run.folder / "models").mkdir(parents=True, exist_ok=True)
    first(lambda: clear(run))
    splits = on_devices(run)
    results: dict[str, Result] = {}
    left_out: set[str] = set()
    for name, stage in stages.items():
        try:
            given = stage.given(results)
            check_stage(name, stage, given)
            identity = identity_of(name, stage, run, given, results)
        except KeyError as missing:
            if missing.args[0] not in left_out:
                raise
            left_out.add(name)
            run.say(f"{name} is left out: it is built on {missing.args[0]}")
            continue
        found = read_back(name, stage, run, identity, given, list(stages))
        try:
            if found is None:
                results[name] = _train(name, stage, run, identity, given, results, splits, list(stages))
            else:
                results[name] = found.result if found.state is None else _measured_again(name, stage, run, identity, found, splits)
            first(partial(remove, frames.folder_of(run, name)))
        except Diverged as error:
            if not stage.optional:
                raise
            left_out.add(name)
            run.say(f"{error}; the run goes on without it")
    run.records.put(list(stages), name, run.records.of(name))  # whatever happened to the file meanwhile
    return results


def _train(name, stage, run, identity, given, results, splits, order) -> Result:
    own = run.share == "none" and stage.members > 1
    arrays = place(resident(stage.source), run.devices) if stage.source and run.resident else None
    state = initial_state(stage, run, given, results)
    first(lambda: (run.folder / "checkpoints").mkdir(exist_ok=True))  # not the run's own folder, which may have been removed
    checkpoints = Checkpoints(run.folder / "checkpoints" / name, identity, best=selects_best(stage, run))
    try:
        moving, frozen = split(state)
        step, moving, notes = _newest(name, stage, run, order, checkpoints, moving)
        moving, frozen = place(moving, run.devices, lead=1), place(frozen, run.devices)
        compiled = block(stage, state, run.how, own, run.devices)
        ask = Collector(stage.method.predict, run, splits, stage.view, needs=stage.method.needs)
        keys, outputs = _noise_keys(stage, run, own), None
        if stage.teacher_cache and step < stage.steps:
            outputs = teacher_outputs(name, stage, run, given, keys[0] if own else keys)
            arrays = None if arrays is None else arrays | {"teacher": place(outputs.everything(), run.devices)}
        refresh = refresher(stage, run, splits, arrays)
        moving = moving if step else refresh(moving, frozen, step)
        warned, saved = False, step
        with closing(feed(stage, run, own, step, outputs)) as chunks:
            while step < stage.steps:
                began = time.perf_counter()
                end = min(step - step % stage.pace.block + stage.pace.block, stage.steps)
                moving, line, images, damaged = _advance(compiled, moving, (frozen, arrays, keys), chunks, step, end)
                name_damaged(run, damaged)
                line = {"stage": name, "step": end} | line
                if not check_losses(name, end, line, saved) and not warned:
                    warned = True
                    run.say(f"{name}: the loss of some members is not finite at step {end}")
                spent = time.perf_counter() - began
                run.records.time(name, end, seconds=spent, images_per_second=images / spent)
                step, due, lost = end, end == stage.steps, ""
                moving = refresh(moving, frozen, step)
                if due or step % stage.pace.evaluate == 0:
                    line, lost = evaluate_on_the_way(name, stage, run, splits, ask(join(moving, frozen)), line)
                run.records.add([line])
                run.progress(name, step, run.records.lines[-1])
                if lost:
                    raise ended(f"{name} stops: {lost}", saved)
                stopping = any(gathered(run.stop()))
                if due or stopping or step % stage.pace.save == 0:
                    _save(name, stage, run, checkpoints, moving, notes, line, saved)
                    saved = step
                if stopping and not due:
                    raise Stopped(f"stopped by a signal; {name} is saved at step {step} of {stage.steps}: the same command goes on")
        if selects_best(stage, run) and (chosen := checkpoints.best()) != step:
            moving, _ = checkpoints.restore(chosen, moving)
            step = chosen
        state = join(place(moving, run.devices, lead=1), frozen)
        kept, points = list(range(stage.members)), ()
        if stage.choose:
            scores = stage.evaluate(ask(state), "val", False)[stage.score]
            kept, points = choose(stage.hyper or {}, f"val_{stage.score}", scores, sign=score_of(stage).sign)
            state = stack([unstack(state)[i] for i in kept])
        measures = evaluate_at_end(stage, splits, ask(state))
        if "val" in splits and run.test_curve:
            measures |= at_best(stage, run.records.of(name), kept)
    finally:
        checkpoints.close()
    shown = frames.read(frames.folder_of(run, name))
    return keep(name, stage, run, identity, state, measures, step, points, share=len(notes["machines"]) == 1, frames=shown)


def _newest(name, stage, run, order, checkpoints, moving) -> tuple[int, Any, dict]:
    """Where a stage goes on, or begins: the step, what moves there, and the notes that its checkpoints take along."""
    step, notes = 0, {"machines": [machine_of(run)]}
    if found := checkpoints.newest(moving, run.say):
        step, moving, notes = found
        run.say(f"{name}: resumed at step {step} of {stage.steps}")
        run.damaged.update(notes["damaged"])
        if machine_of(run) not in notes["machines"]:
            notes["machines"].append(machine_of(run))
            run.say(f"{name}: other devices or versions than before, so the result is not repeated bit for bit")
    run.records.put(order, name, notes.pop("lines", []), grows=True)
    first(lambda: frames.cut(frames.folder_of(run, name), step))
    return step, moving, notes


def _save(name, stage, run, checkpoints, moving, notes, line, saved) -> None:
    """Saves what moves, with the score of its step where the best one is taken in the end."""
    score, held = line.get(f"val_{stage.score}"), on_host(moving)
    value = score_of(stage).sign * float(np.mean(score)) if selects_best(stage, run) and score is not None else None
    check_weights(name, line["step"], held, saved)
    told = {"damaged": sorted(run.damaged), "lines": run.records.of(name)}
    checkpoints.save(line["step"], held, notes | told, value)


def _measured_again(name, stage, run, identity, found, splits) -> Result:
    """A finished stage whose measures have changed since; its curve stays as it was measured on the way."""
    run.say(f"{name}: its measures have changed since it was trained, so it is measured again")
    ask = Collector(stage.method.predict, run, splits, stage.view, needs=stage.method.needs)
    moving, frozen = split(found.state)
    state = join(place(moving, run.devices, lead=1), place(frozen, run.devices))
    measures, result = evaluate_at_end(stage, splits, ask(state)), found.result
    return keep(
        name, stage, run, identity, state, measures, result.step, result.points, share=found.shared, frames=result.frames
    )  # fmt: skip


def _advance(compiled, moving: Any, held: tuple, chunks: Iterator[Chunk], step: int, end: int) -> tuple[Any, dict, int, list[str]]:
    """The steps up to the end of a block: what moves, means of the metrics with the epoch, images seen, lines of damaged rows."""
    pieces, images, damaged, epoch = [], 0, [], 0
    while step < end:
        chunk = next(chunks)
        moving, metrics = compiled(moving, *held, chunk.now, chunk.epochs, np.int32(step))
        pieces.append((chunk.steps, metrics))
        images, damaged = images + chunk.images, damaged + chunk.damaged
        step, epoch = step + chunk.steps, int(chunk.epochs[-1]) + 1
        if len(pieces) > 2:
            jax.block_until_ready(pieces[-3][1])  # no more than two chunks wait on the devices
    means = jax.tree.map(np.asarray, [metrics for _, metrics in pieces])
    if len(means) == 1:
        return moving, {"epoch": epoch} | means[0], images, damaged
    steps = [k for k, _ in pieces]
    averages = jax.tree.map(lambda *xs: np.average(np.stack(xs), axis=0, weights=steps), *means)
    return moving, {"epoch": epoch} | averages, images, damaged


def _noise_keys(stage: Stage, run: Run, own: bool) -> jax.Array:
    shared = jax.random.key(run.data_seed)
    if run.share == "batch":
        return shared
    keys = [jax.random.fold_in(shared, seed + 1) for seed in seeds_of(stage, run.seed)]
    return jnp.stack(keys) if own else keys[0]
