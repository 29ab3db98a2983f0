"""The one training loop."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import InputError, jit_fast_compile, join, split
from kdjax.core.files import remove
from kdjax.data import resident
from kdjax.train import frames
from kdjax.train.alarms import fatal, raised
from kdjax.train.block import block
from kdjax.train.checkpoint import Checkpoints
from kdjax.train.collect import Collect, Collector, on_devices
from kdjax.train.devices import on_host, place, within_process
from kdjax.train.diverged import Diverged, check_losses, check_weights, ended
from kdjax.train.feed import Chunk, feed
from kdjax.train.identify import identity_of
from kdjax.train.members import stack, unstack
from kdjax.train.processes import first, gathered
from kdjax.train.run import Run, Stopped, name_damaged
from kdjax.train.stage import Result, Stage, blank_batch, check_stage, score_of, seeds_of, sources_of
from kdjax.train.stage_cache import clear, keep, machine_of, read_back
from kdjax.train.start import begin
from kdjax.train.sweep import choose
from kdjax.train.teacher_cache.compute import check_outputs, teacher_outputs


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
            first(partial(remove, _frames(run, name)))
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
    state = _initial(stage, run, given, results)
    best, score, sign = run.select == "best" and not stage.intermediate, stage.score, score_of(stage).sign
    first(lambda: (run.folder / "checkpoints").mkdir(exist_ok=True))  # not the run's own folder, which may have been removed
    checkpoints = Checkpoints(run.folder / "checkpoints" / name, identity, best=best)
    try:
        moving, frozen = split(state)
        found = checkpoints.newest(moving, run.say)
        step, notes = 0, {"machines": [machine_of(run)]}
        if found:
            step, moving, notes = found
            run.say(f"{name}: resumed at step {step} of {stage.steps}")
            run.damaged.update(notes["damaged"])
            if machine_of(run) not in notes["machines"]:
                notes["machines"].append(machine_of(run))
                run.say(f"{name}: other devices or versions than before, so the result is not repeated bit for bit")
        run.records.put(order, name, notes.pop("lines", []), grows=True)
        first(lambda: frames.cut(_frames(run, name), step))
        moving, frozen = place(moving, run.devices, lead=1), place(frozen, run.devices)
        compiled = block(stage, state, run.how, own, run.devices)
        ask = Collector(stage.method.predict, run, splits, stage.view, needs=stage.method.needs)
        validation = "val" if "val" in splits else "test"
        keys, warned, saved = _noise_keys(stage, run, own), False, step
        look = stage.frames and (lambda state: stage.frames(state, jax.random.key(run.data_seed)))
        outputs = None
        if stage.teacher_cache and step < stage.steps:
            outputs = teacher_outputs(name, stage, run, given, keys[0] if own else keys)
            arrays = None if arrays is None else arrays | {"teacher": place(outputs.everything(), run.devices)}
        refresh = _refresher(stage, run, splits, arrays)
        moving = moving if found else refresh(moving, frozen, step)
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
                    measured = stage.evaluate(ask(join(moving, frozen)), validation, False)
                    _check_measured(name, measured, score, {"select='best'": best, "a sweep that chooses": stage.choose})
                    line |= {f"{validation}_{measure}": value for measure, value in measured.items()}
                    lost = "" if due else fatal(stage.alarms, {**line, **measured}, step)
                    if found := raised(stage.alarms, {**line, **measured}, step):
                        known = _alarmed(run.records.of(name))
                        for told in (text for measure, text in found.items() if measure not in known and not lost):
                            run.say(f"{name}: {told}; the run goes on")
                        line["alarms"] = found
                    if look and frames.is_shown(stage, step):
                        made = ask(join(moving, frozen)).state(look)[0]
                        first(partial(frames.add, _frames(run, name), step, made))
                    if run.test_curve and validation == "val":
                        on_test = stage.evaluate(ask(join(moving, frozen)), "test", False)
                        line |= {f"test_{score}": on_test[score]} if score in on_test else {}
                run.records.add([line])
                run.progress(name, step, run.records.lines[-1])
                if lost:
                    raise ended(f"{name} stops: {lost}", saved)
                stopping = any(gathered(run.stop()))
                if due or stopping or step % stage.pace.save == 0:
                    value = sign * float(np.mean(line[f"val_{score}"])) if best and f"val_{score}" in line else None
                    told = {"damaged": sorted(run.damaged), "lines": run.records.of(name)}
                    held = on_host(moving)
                    check_weights(name, step, held, saved)
                    checkpoints.save(step, held, notes | told, value)
                    saved = step
                if stopping and not due:
                    raise Stopped(f"stopped by a signal; {name} is saved at step {step} of {stage.steps}: the same command goes on")
        if best and (chosen := checkpoints.best()) != step:
            moving, _ = checkpoints.restore(chosen, moving)
            step = chosen
        state = join(place(moving, run.devices, lead=1), frozen)
        kept, points = list(range(stage.members)), ()
        if stage.choose:
            scores = stage.evaluate(ask(state), "val", False)[score]
            kept, points = choose(stage.hyper or {}, f"val_{score}", scores, sign=sign)
            state = stack([unstack(state)[i] for i in kept])
        measures = _final(stage, ask(state), splits)
        if "val" in splits and run.test_curve:
            measures |= _at_best(run.records.of(name), kept, score, sign)
    finally:
        checkpoints.close()
    shown = frames.read(_frames(run, name))
    return keep(name, stage, run, identity, state, measures, step, points, share=len(notes["machines"]) == 1, frames=shown)


def _measured_again(name, stage, run, identity, found, splits) -> Result:
    """A finished stage whose measures have changed since; its curve stays as it was measured on the way."""
    run.say(f"{name}: its measures have changed since it was trained, so it is measured again")
    ask = Collector(stage.method.predict, run, splits, stage.view, needs=stage.method.needs)
    moving, frozen = split(found.state)
    state = join(place(moving, run.devices, lead=1), place(frozen, run.devices))
    measures, result = _final(stage, ask(state), splits), found.result
    return keep(
        name, stage, run, identity, state, measures, result.step, result.points, share=found.shared, frames=result.frames
    )  # fmt: skip


def _frames(run: Run, name: str) -> Path:
    """Where the images of a stage are until it is finished."""
    return run.folder / "checkpoints" / f"{name}.frames"


def _final(stage: Stage, collect: Collect, splits: dict) -> dict[str, list[float]]:
    """What is measured at the end."""
    measures = _measured("test", stage.evaluate(collect, "test", True))
    return measures | (_measured("val", stage.evaluate(collect, "val", False)) if "val" in splits else {})


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


def _check_measured(name: str, measured: dict, score: str, asked: dict[str, bool]) -> None:
    """Refuses to choose by a score that is not measured on the way."""
    for what in (what for what, wanted in asked.items() if wanted and score not in measured):
        raise InputError(f"{what} is not accepted: stage {name!r} measures {', '.join(measured)}, no {score}")


def _at_best(lines: list[dict], members: list[int], score: str, sign: int) -> dict[str, list[float]]:
    """Each member's score on test images where that on validation images was best; of equals the latest."""
    val_score, test_score = f"val_{score}", f"test_{score}"
    both = [(x[val_score], x[test_score]) for x in lines if {val_score, test_score} <= set(x)]
    if not both:
        return {}
    val, test = np.array(both, float).swapaxes(0, 1)[..., members]
    last = len(val) - 1 - np.argmax(np.nan_to_num(sign * val[::-1], nan=-np.inf), axis=0)
    return {f"test_at_best_val_{score}": np.take_along_axis(test, last[None], axis=0)[0].tolist()}


def _alarmed(lines: list[dict]) -> set[str]:
    """The measures of which alarms were told before."""
    return {measure for line in lines for measure in line.get("alarms", ())}


def _measured(split: str, measures: dict) -> dict[str, list[float]]:
    return {f"{split}_{measure}": np.ravel(value).astype(float).tolist() for measure, value in measures.items()}


def _initial(stage: Stage, run: Run, given: dict, results: dict) -> Any:
    """The State at step 0, members stacked."""
    # Frozen parts are traced as zeros and put back, so that no compiled program holds a teacher's weights.
    by_source = {value.source: value for value in given.values()}
    init = jit_fast_compile(lambda key: stage.method.init(key, blank_batch(stage), jax.tree.map(jnp.zeros_like, given)))
    states = []
    for number, seed in enumerate(seeds_of(stage, run.seed)):
        moving, blank = split(init(jax.random.fold_in(jax.random.key(seed), 0)))
        one = join(moving, [by_source[x.source] for x in blank])
        for start in stage.start:
            one = begin(stage.method, one, start, number % (stage.seeds or stage.members))
        states.append(_warm_started(stage, one, results, number))
    state = stack(states)
    if stage.hyper:
        state = state._replace(hyper={k: jnp.asarray(v, jnp.float32) for k, v in stage.hyper.items()})
    return state


def _warm_started(stage: Stage, state: Any, results: dict, number: int) -> Any:
    """A member's State with weights of an earlier stage; the points of a sweep go on from the same ones, a seed each."""
    if stage.warm_start is None:
        return state
    each, member = tuple(results[name] for name in sources_of(stage)), number % (stage.seeds or stage.members)
    found = each if isinstance(stage.warm_start_from, tuple) else each[0]
    if stage.hyper:
        return state._replace(inner=stage.warm_start(state.inner, found, member))
    return stage.warm_start(state, found, member)


def _noise_keys(stage: Stage, run: Run, own: bool) -> jax.Array:
    shared = jax.random.key(run.data_seed)
    if run.share == "batch":
        return shared
    keys = [jax.random.fold_in(shared, seed + 1) for seed in seeds_of(stage, run.seed)]
    return jnp.stack(keys) if own else keys[0]


def _refresher(stage: Stage, run: Run, splits: dict, arrays: Any) -> Callable:
    """Makes `(moving, frozen, step) -> moving`: at the steps of a refresh, after that of every member with a key of its own."""
    renew = stage.refresh
    if renew is None or not stage.refresh_every:
        return lambda moving, frozen, step: moving
    # The teacher's outputs are no rows.
    rows = None if arrays is None else {name: x for name, x in arrays.items() if name != "teacher"}
    own = {} if stage.source is None else {"train": rows or stage.source}
    ask = Collector(stage.method.predict, run, splits | own, stage.view, needs=stage.method.needs)

    def refresh(moving, frozen, step):
        if step % stage.refresh_every and step < stage.steps:
            return moving
        key, states = jax.random.fold_in(jax.random.fold_in(jax.random.key(run.data_seed), 2), step), []
        for one, seed in zip(unstack(within_process(join(moving, frozen))), seeds_of(stage, run.seed), strict=True):
            collect = ask(place(stack([one]), run.devices, lead=1), alone=True)
            states.append(renew(collect, one, step, jax.random.fold_in(key, seed)))
        return place(split(stack(states))[0], run.devices, lead=1)

    return refresh
