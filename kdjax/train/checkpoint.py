"""Orbax checkpoints with a manifest that is verified on restore."""

import errno
import math
import os
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from kdjax.core import InputError
from kdjax.core.files import refusing, remove
from kdjax.core.tree_paths import path_name
from kdjax.models.pretrained import nested
from kdjax.train import fingerprint
from kdjax.train.identity import Identity, cause
from kdjax.train.manifest import check_members, content_of
from kdjax.train.processes import first, primary
from kdjax.train.quiet import quieten_orbax

BESIDE = ("samples", "frames", "state")  # what a finished stage saves beside its networks


class Checkpoints:
    """The checkpoints of one stage: asynchronous, the newest kept and the best by validation.

    Orbax by itself restores a flipped byte and another dtype without complaint. So each checkpoint holds a manifest: path,
    shape, dtype and sha256 of every array, the identity of the stage that wrote it, and a sha256 of all that.

    Args:
      folder: where they are, one sub-folder a step.
      stage: the identity of the stage; None takes any (to read what another run has left).
      keep: how many of the newest to keep.
      best: whether the one with the largest score is kept as well; scores are read from the manifests.
    """

    def __init__(self, folder: Path, stage: Identity | None, *, keep: int = 2, best: bool = False):
        import orbax.checkpoint as ocp

        def preserved(checkpoints, *, context):
            newest, best = sorted(x.step for x in checkpoints)[-keep:], self._best()
            return [x.step in newest or x.step == best for x in checkpoints]

        policy: Any = SimpleNamespace(should_preserve=preserved)
        options = ocp.CheckpointManagerOptions(preservation_policy=policy, create=False)
        # a folder made in the background may appear after the write into it has failed and the manager is closed
        options.async_options = ocp.AsyncOptions(create_directories_asynchronously=False)
        if jax.process_count() > 1:  # arrays are whole on every host: the first process writes, each reads for itself
            own = jax.process_index()
            options.multiprocessing_options = ocp.options.MultiprocessingOptions(
                primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: expected a folder of checkpoints; remove it")
        folder.mkdir(parents=True, exist_ok=True)
        quieten_orbax()
        self._ocp, self._stage, self._folder = ocp, stage, folder
        with self._reading(f"folder {folder} of checkpoints"):
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_names=("state", "manifest"))
        self._scores = dict(self._scores_on_disk()) if best else None

    def save(self, step: int, state: Any, notes: dict, score: float | None = None) -> None:
        """Copies the state to the host and writes it in the background; of several processes only the first writes.

        Args:
          step: the absolute step.
          state: a pytree of arrays, without frozen parts.
          notes: JSON values to keep with it.
          score: the larger the better; None where it was not measured, or is not to be chosen by.

        Raises:
          InputError: where this one or the one before cannot be written; those on disk stay.
        """
        assert self._stage is not None
        if not primary():
            return
        found = jax.tree_util.tree_leaves_with_path(state)
        arrays = {f"{i:05d}": np.asarray(x) for i, (_, x) in enumerate(found)}
        leaves = [
            {
                "path": path_name(path),
                "shape": list(x.shape),
                "dtype": x.dtype.name,
                "sha256": fingerprint.of_array(x),
            }
            for (path, _), x in zip(found, arrays.values(), strict=True)
        ]
        score = score if score is not None and math.isfinite(score) else None
        content = {"stage": self._stage.written(), "step": step, "leaves": leaves, "notes": notes, "score": score}
        manifest = {"content": content, "sha256": fingerprint.of_json(content)}
        args = self._ocp.args.Composite(state=self._ocp.args.StandardSave(arrays), manifest=self._ocp.args.JsonSave(manifest))
        with self._writing():
            if not self._folder.is_dir():  # Orbax would make it again, and a run's folder that nothing else is in
                raise FileNotFoundError(os.strerror(errno.ENOENT))
            if self._scores is not None and score is not None:
                self._scores[step] = score
            self._manager.save(step, args=args)

    def steps(self) -> list[int]:
        """The steps on disk, newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def restore(self, step: int, template: Any = None) -> tuple[Any, dict]:
        """One checkpoint, verified: `(state, notes)`; without a template, nested dicts by the paths in the manifest.

        Raises:
          InputError: one line that says what is wrong with it.
        """
        place = f"checkpoint {self._folder.name}/{step}"
        manifest = self._manifest(step, place)
        if self._stage is not None and (different := cause(manifest["stage"], self._stage)):
            raise InputError(f"{place} is refused: it was written with {different}")
        if template is not None:
            _check_leaves(place, manifest["leaves"], template)
        shapes = {f"{i:05d}": jax.ShapeDtypeStruct(x["shape"], x["dtype"]) for i, x in enumerate(manifest["leaves"])}
        self._check_state(step, place, shapes)
        arrays = self._read(step, place, "state", self._ocp.args.StandardRestore(_on_host(shapes)))
        for leaf, x in zip(manifest["leaves"], (arrays[k] for k in sorted(arrays)), strict=True):
            if fingerprint.of_array(x) != leaf["sha256"]:
                raise InputError(f"{place} is refused: {leaf['path']} does not match its sha256, the file is damaged")
        leaves = [np.asarray(arrays[k]) for k in sorted(arrays)]
        if template is None:
            return nested({x["path"]: leaf for x, leaf in zip(manifest["leaves"], leaves, strict=True)}), manifest["notes"]
        return jax.tree.unflatten(jax.tree.structure(template), leaves), manifest["notes"]

    def newest(self, template: Any, say: Callable[[str], None]) -> tuple[int, Any, dict] | None:
        """The newest good checkpoint as `(step, state, notes)`, or None where there is none at all.

        Bad ones are refused with one line each, and the one before is tried. All processes call it and get the same.

        Raises:
          InputError: where there are checkpoints and none is good.
        """
        found, reasons = {}, []

        def newest_good():
            for left in self._folder.iterdir():
                if not left.is_dir() or ".orbax-checkpoint-tmp" in left.name:  # a killed run was writing it
                    remove(left)
            for step in self.steps():
                try:
                    found[step] = self.restore(step, template)
                except InputError as error:
                    say(str(error))
                    reasons.append(str(error).removeprefix(f"checkpoint {self._folder.name}/").replace(" is refused", "", 1))
                    continue
                for refused in (s for s in self.steps() if s > step):
                    self._manager.delete(refused)
                return step
            if self.steps():
                advice = "remove that folder to start this stage afresh"
                raise InputError(f"no checkpoint in {self._folder} can be used (step {reasons[0]}); {advice}")
            return None

        step = first(newest_good)
        if step is None:
            return None
        state, notes = found.get(step) or self.restore(step, template)
        return step, state, notes

    def best(self) -> int:
        """The step of the checkpoint with the largest score; of equals, the latest. All processes call it."""

        def best():
            self._manager.wait_until_finished()
            return self._best()

        step = first(best)
        assert step is not None, "no checkpoint was scored"
        return step

    def close(self) -> None:
        """Waits for what is being written.

        Raises:
          InputError: where it cannot be written; what is on disk stays.
        """
        with self._writing():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    def _best(self) -> int | None:
        scores = self._scores or {}
        return max(scores, key=lambda step: (scores[step], step), default=None)

    def _scores_on_disk(self):
        for step in self.steps():
            with suppress(InputError):  # a damaged one is told of where it is restored
                if (score := self._manifest(step, f"checkpoint {self._folder.name}/{step}").get("score")) is not None:
                    yield step, score

    def _manifest(self, step, place):
        found = self._read(step, place, "manifest", self._ocp.args.JsonRestore())
        return content_of(found, place, self._folder / str(step))

    def _check_state(self, step, place, shapes):
        """Refuses arrays of other shapes than the manifest says before they are read: Orbax fills up or leaves tasks behind."""
        with self._reading(f"{place} is refused: its state"):
            found = self._ocp.PyTreeCheckpointHandler().metadata((self._folder / str(step) / "state").absolute()).tree
            known = {name: (tuple(x.shape), np.dtype(x.dtype)) for name, x in found.items()}
        if known != {name: (tuple(x.shape), np.dtype(x.dtype)) for name, x in shapes.items()}:
            raise InputError(f"{place} is refused: its arrays are not those that its manifest names, the file is damaged")

    def _read(self, step, place, item, args):
        with self._reading(f"{place} is refused: its {item}"):
            return self._manager.restore(step, args=self._ocp.args.Composite(**{item: args}))[item]

    def _writing(self):
        return refusing(f"folder {self._folder} of checkpoints", "; the same command goes on from the last one that was")

    @contextmanager
    def _reading(self, what):
        try:
            yield
        except Exception as error:  # Orbax and tensorstore raise many kinds; all mean that the files cannot be read
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"{what} cannot be read ({reason[0][:160]})") from error


def read_model(folder: Path, identity: Identity | None = None) -> tuple[dict, dict]:
    """The networks a finished stage has saved, verified: `(weights, notes)`.

    Raises:
      InputError: one line that says what is wrong with them.
    """
    weights, _, notes = read_finished(folder, identity)
    return weights, notes


def read_finished(folder: Path, identity: Identity | None) -> tuple[dict, dict, dict]:
    """What a finished stage has saved, verified: `(weights, beside, notes)`, with all that is none of its networks in `beside`.

    Raises:
      InputError: one line that says what is wrong with it.
    """
    saved = Checkpoints(folder, identity)
    try:
        weights, notes = saved.restore(0)
    finally:
        saved.close()
    beside = {name: weights.pop(name) for name in BESIDE if name in weights}
    for name, network in weights.items():
        check_members(network, f"{folder} is refused: its network {name!r}")
        network.setdefault("stats", {})
    return weights, beside, notes


def _check_leaves(place, leaves, template):
    wanted = [
        {"path": path_name(path), "shape": list(x.shape), "dtype": np.dtype(x.dtype).name}
        for path, x in jax.tree_util.tree_leaves_with_path(template)
    ]
    for want, leaf in zip(wanted, leaves, strict=False):
        if any(want[k] != leaf[k] for k in want):
            raise InputError(f"{place} is refused: it holds {_said(leaf)} where {_said(want)} is expected")
    if len(wanted) != len(leaves):
        raise InputError(f"{place} is refused: it holds {len(leaves)} arrays, {len(wanted)} are expected")


def _said(leaf):
    return f"{leaf['path']} {leaf['dtype']}{leaf['shape']}"


def _on_host(shapes):
    device = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    return {k: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device) for k, s in shapes.items()}
