"""The outputs of a stage's teacher, computed once: in one pass over rows and views, or read where an earlier run has left them."""

import fcntl
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kdjax.core import Frozen, InputError
from kdjax.core.files import refusing
from kdjax.core.images import inputs_of
from kdjax.core.paths import user_path
from kdjax.data import one_row, padded_batches
from kdjax.train import fingerprint
from kdjax.train.block import augmented
from kdjax.train.collect import batches
from kdjax.train.devices import constrain_rows, place
from kdjax.train.processes import first, gathered, primary, together
from kdjax.train.program import trace
from kdjax.train.run import Run, Stopped
from kdjax.train.stage import Stage, seeds_of
from kdjax.train.stage_cache import machine_of
from kdjax.train.teacher_cache.spec import encode
from kdjax.train.teacher_cache.store import Manifest, Store, append, begin, disk_bytes, open_store, read_manifest

TOLERANCE = 0.05  # of the largest number, between outputs computed on two machines; those of another image are further apart


def check_outputs(name: str, stage: Stage, run: Run) -> None:
    """Refuses, before anything is trained, what `teacher_outputs` would refuse whatever the teacher is.

    Raises:
      InputError: where members draw for themselves, or the folder that was asked for holds outputs of anything else; one line.
    """
    cache = stage.teacher_cache
    if cache is None:
        return
    if cache.drawn and run.share == "none" and stage.members > 1:
        what = "every member draws its own augmentation, so that none could use the teacher's outputs of another"
        raise InputError(
            f"stage {name!r}, teacher_cache: not accepted with seeds_share='none': {what}; expected 'batch', or no augmentation"
        )
    if cache.folder:
        first(lambda: _found(user_path(cache.folder), fingerprint_of(stage, run)))


def teacher_outputs(name: str, stage: Stage, run: Run, given: Mapping[str, Frozen], key: jax.Array) -> Store:
    """The outputs of `given["teacher"]` for all rows of a stage in all its views; all processes must call it.

    They are read where a folder holds them, and computed where there is none, with the draws of augmentation that training makes.
    A pass that was stopped or killed goes on where it was. Some of what is found is computed anew and compared.

    Args:
      name: the stage's.
      stage: what is kept, of which rows, under which augmentation.
      run: the run.
      given: the weights.
      key: what training draws from.

    Raises:
      InputError: when what lies there follows from anything else (the line names the first part that differs), is damaged, or is
        not what this teacher gives.
      Stopped: between two blocks of rows, when `run.stop` asks for it.
    """
    cache = stage.teacher_cache
    assert cache and stage.source
    wanted = {"teacher": given["teacher"].source, **fingerprint_of(stage, run)}
    folder = folder_of(stage, run, given["teacher"], wanted)
    first(lambda: _make(folder))
    ask = _asker(stage, run, given["teacher"], key)
    with _alone(folder, name, run) if primary() else nullcontext():
        found = first(lambda: _found(folder, wanted))
        begun = None if found is None else Manifest(**found)
        if begun:
            stored = together(lambda: open_store(folder, begun))
            _check_rows(stored, begun.done, stage, run, ask)
            if begun.whole:
                run.say(f"{name}: teacher outputs read from {folder}")
                return stored
        began = time.perf_counter()
        manifest = _compute(name, stage, run, ask, folder, wanted, begun)
    views = f"{cache.views} views" if cache.views > 1 else "one view"
    size = f"{disk_bytes(folder) / 1e6:,.1f} MB in {folder}"
    run.say(f"{name}: teacher outputs of {manifest.rows:,} images in {views}: {time.perf_counter() - began:.1f} s, {size}")
    return together(lambda: open_store(folder, manifest))


def fingerprint_of(stage: Stage, run: Run) -> dict[str, Any]:
    """What outputs follow from beside the teacher, JSON values by name; not the batch, as every row is computed by itself."""
    cache = stage.teacher_cache
    assert cache and stage.source
    seeds: Any = None
    if cache.drawn:
        seeds = run.data_seed if run.share == "batch" else [run.data_seed, *seeds_of(stage, run.seed)]
    inputs = {"data": run.digest, "rows": stage.source.size, "augmentation_seed": seeds}
    asked = {"views": cache.views, "taps": cache.taps, "top": cache.top, "dtype": cache.dtype}
    return json.loads(json.dumps({**inputs, **cache.about, **asked}))


def folder_of(stage: Stage, run: Run, teacher: Frozen, wanted: Mapping[str, Any]) -> Path:
    """Where the outputs lie: in the folder that was asked for, or in one of their own among the finished stages of all runs.

    Another machine or version, other images and another program of augmentation and teacher have another one; in a folder that was
    asked for, outputs are compared instead.

    Several processes have only the run's folder in common: the cache of finished stages may lie on one machine.
    """
    cache = stage.teacher_cache
    assert cache and stage.source
    if cache.folder:
        return user_path(cache.folder)
    above = run.cache if run.cache and jax.process_count() == 1 else run.folder
    row, key = one_row(stage.source), jax.random.key(0)
    program, _ = trace(partial(_ask, stage), teacher.params, teacher.stats, key, row, np.int32(0))
    return above / f"outputs-{fingerprint.of_json([wanted, fingerprint.of_inputs(stage.source), program, machine_of(run)])[:32]}"


def _found(folder: Path, wanted: Mapping[str, Any]) -> dict | None:
    """The manifest of what is there, whole or begun; as long as the teacher is not known, any is taken."""
    found = read_manifest(folder)
    if found is None or not found.done:
        return None
    for part in [*wanted, *(p for p in found.fingerprint if p != "teacher")]:
        theirs, ours = (x.get(part, "nothing") for x in (found.fingerprint, wanted))
        if theirs != ours:
            advice = "choose another --config.cache.dir or remove that folder"
            raise InputError(
                f"teacher outputs in {folder} are refused: they have {part}={theirs}, this run has {part}={ours}; {advice}"
            )
    return found._asdict()


def _asker(stage: Stage, run: Run, teacher: Frozen, key: jax.Array) -> Callable[[dict, int], dict]:
    """Makes `(batch, view) -> {name: [B, ...]}`, compiled once."""

    def ask(params, stats, key, batch, view):
        return _ask(stage, params, stats, key, constrain_rows(batch, run.devices), view)

    compiled = jax.jit(ask, out_shardings=NamedSharding(run.devices.mesh, P()))
    weights = place((teacher.params, teacher.stats), run.devices)
    return lambda batch, view: compiled(*weights, key, batch, np.int32(view))


def _ask(stage: Stage, params: Any, stats: Any, key: jax.Array, batch: dict, view: Any) -> dict[str, jax.Array]:
    """What is kept of a teacher's outputs for a batch in one view."""
    cache = stage.teacher_cache
    assert cache
    inputs = inputs_of(augmented(stage, key, batch, view))
    return encode(cache, cache.net.apply(params, stats, inputs, train=False)[0])


def _compute(name, stage, run, ask, folder: Path, wanted: dict, manifest: Manifest | None) -> Manifest:
    """Computes what is left; of several processes the first one writes."""
    size, views, said = stage.source.size, stage.teacher_cache.views, time.monotonic()
    start = manifest.done if manifest else 0
    if start:
        run.say(f"{name}: teacher outputs of {start:,} of {size:,} images are there, the others are computed")
    passes = np.minimum(padded_batches(size - start, stage.batch)[0] + start, size - 1)
    with closing(_asked(ask, batches(stage.source, passes, run), views, size - start)) as parts:
        head = next(parts)
        if manifest is None:
            shapes = {key: jax.ShapeDtypeStruct((views, size, *x.shape[2:]), x.dtype) for key, x in head.items()}
            manifest = Manifest(**first(lambda: _written(folder, lambda: begin(folder, wanted, shapes))))
        for rows in _in_blocks(chain([head], parts), manifest.block):
            _check_finite(rows, manifest.done)
            manifest = Manifest(**first(lambda m=manifest, rows=rows: _written(folder, lambda: append(folder, m, rows))))
            there = f"teacher outputs of {manifest.done:,} of {size:,} images"
            if not manifest.whole and any(gathered(run.stop())):
                raise Stopped(f"stopped by a signal; {name}: {there} are kept: the same command goes on")
            if not manifest.whole and time.monotonic() - said > 10:
                run.say(f"{name}: {there}")
                said = time.monotonic()
    return manifest


def _asked(ask: Callable, found: Iterable[dict], views: int, left: int) -> Generator[dict[str, np.ndarray]]:
    """The outputs for batches, `{name: [views, B, ...]}`, `left` rows in all; the devices work while the ones before are used."""

    def on_host(parts):
        return {name: np.stack([np.asarray(part[name]) for part in parts])[:, :left] for name in parts[0]}

    before = None
    for batch in found:
        now = [ask(batch, view) for view in range(views)]
        if before:
            yield (rows := on_host(before))
            left -= _count(rows)
        before = now
    if before:
        yield on_host(before)


def _in_blocks(parts: Iterable[dict], block: int) -> Iterator[dict[str, np.ndarray]]:
    """The same rows, so many at a time; the last ones only when `parts` has come to its end."""
    held: list[dict] = []
    for part in parts:
        held.append(part)
        while sum(map(_count, held)) > block:
            whole = _joined(held)
            yield {name: x[:, :block] for name, x in whole.items()}
            held = [{name: x[:, block:] for name, x in whole.items()}]
    yield _joined(held)


def _joined(parts: list[dict]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def _count(rows: dict[str, np.ndarray]) -> int:
    return next(iter(rows.values())).shape[1]


def _check_finite(rows: dict[str, np.ndarray], start: int) -> None:
    for name, x in rows.items():
        if _is_float(x) and not np.isfinite(x).all():
            row = start + int(np.argwhere(~np.isfinite(x))[0][1])
            raise InputError(
                f"teacher outputs are refused: {name} of row {row} is not finite as {x.dtype.name}; expected finite numbers"
            )


def _check_rows(stored: Store, done: int, stage: Stage, run: Run, ask: Callable) -> None:
    """Computes some of the first `done` rows anew: what no fingerprint tells, as another augmentation, shows in their outputs."""
    assert stage.teacher_cache and stage.source
    rows = np.linspace(0, done - 1, stage.batch).astype(np.int32)
    view = stage.teacher_cache.views - 1
    (batch,) = batches(stage.source, rows[None], run)
    now = {name: np.asarray(x) for name, x in ask(batch, view).items()}

    def check():
        for name, theirs in stored.read(np.array(view), rows).items():
            if _is_float(theirs):
                ours, theirs = now[name].astype(np.float32), theirs.astype(np.float32)
                apart, largest = np.max(np.abs(ours - theirs)), np.max(np.abs(ours))
                if not apart <= TOLERANCE * largest:
                    what = f"{name} is up to {apart:.3g} off what the teacher gives now, where its largest is {largest:.3g}"
                    advice = "choose another --config.cache.dir or remove that folder"
                    raise InputError(f"teacher outputs in {stored.folder} are refused: {what}; {advice}")

    together(check)


def _is_float(x: np.ndarray) -> bool:
    return bool(jax.numpy.issubdtype(x.dtype, np.floating))


def _make(folder: Path) -> None:
    read_manifest(folder)  # refuses a folder that holds anything else, before a lock is put there
    _written(folder, lambda: folder.mkdir(parents=True, exist_ok=True))


def _written(folder: Path, write: Callable[[], Any]) -> Any:
    """What writing gives, a manifest as a JSON value; one line where the disk is full or the folder not ours."""
    with refusing(f"folder {folder} of teacher outputs", "; choose another --config.cache.dir"):
        done = write()
    return done._asdict() if done else None


@contextmanager
def _alone(folder: Path, name: str, run: Run) -> Iterator[None]:
    """Waits while another run computes the same outputs."""
    try:
        file = open(folder / ".lock", "w")  # noqa: SIM115  closed below
    except OSError:  # a folder that can only be read
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            run.say(f"{name}: waits for another run that computes the same teacher outputs in {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield
