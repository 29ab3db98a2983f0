"""A teacher from outside: from a run, a file of weights, an Orbax checkpoint."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.core import Follower, Frozen, InputError, Net, read_by_name
from kdjax.core.given import given_path
from kdjax.models.pretrained import nested
from kdjax.train import fingerprint
from kdjax.train.collect import collector, on_devices
from kdjax.train.devices import place
from kdjax.train.measures import classification
from kdjax.train.members import stack
from kdjax.train.orbax_tree import read_orbax
from kdjax.train.run import Run
from kdjax.train.saved import read_run

ACCEPTED = "a run's folder, a safetensors file, a PyTorch checkpoint (.pth, .pt, .bin), the folder of an Orbax checkpoint"


class Teacher(NamedTuple):
    """A network with weights from outside.

    Attributes:
      net: takes images in [0, 1].
      params: of the net.
      stats: likewise.
      sha256: of the file; of a folder, over the paths and arrays of the weights.
      format: `"run"`, `"orbax"`, or that of a `models.WeightFile`.
      specification: what `models.build` makes the net from.
      members: the teachers it is made of, where they are several.
    """

    net: Net
    params: Any
    stats: Any
    sha256: str
    format: str
    specification: dict
    members: tuple["Teacher", ...] = ()

    def frozen(self) -> Frozen:
        """For a stage; the source is made of the weights' sha256 and of the net around them, normalisation included."""
        return Frozen(self.params, self.stats, f"{self.sha256}/{fingerprint.of_json(self.specification)}")


def together(teachers: Sequence[Teacher], specification: dict) -> Teacher:
    """Several teachers as one, an ensemble.

    Args:
      teachers: two or more.
      specification: of the ensemble of their nets.
    """
    joined = ensemble_of([Frozen(one.params, one.stats, one.sha256) for one in teachers], specification)
    sha256 = fingerprint.of_json([one.sha256 for one in teachers])
    return Teacher(
        models.build(specification), joined.params, joined.stats, sha256, "several", specification, members=tuple(teachers)
    )


def ensemble_of(teachers: Sequence[Frozen], specification: dict) -> Frozen:
    """The weights of an ensemble from those of its nets."""
    source = fingerprint.of_json([*(one.source for one in teachers), specification])
    return Frozen(tuple(one.params for one in teachers), tuple(one.stats for one in teachers), source)


def read_teacher(path: str | Path, specification: Mapping[str, Any], shape: tuple[int, ...]) -> Teacher:
    """Reads a trained network, whoever trained it.

    Runs and kdjax's own safetensors files say themselves which net they hold and how it normalises images. For weights under
    PyTorch's names, and for Orbax checkpoints of kdjax's nets, the specification says it.

    Args:
      path: a run's folder, whose last stage is taken; a safetensors file; a PyTorch checkpoint; the folder of an Orbax checkpoint
        (a tree with `params`, and `batch_stats` or `stats`; or `params` alone), or that of a manager, whose last step is taken.
      specification: of the net, for `models.build`.
      shape: of one image, `(H, W, C)`.

    Raises:
      InputError: one line that names the path, what was found there and what is accepted.
    """
    path = given_path(path)
    if (path / "config.json").is_file():
        found, params, stats = read_run(path)
        return Teacher(models.build(found), params, stats, fingerprint.of_tree((params, stats)), "run", found)
    if path.is_dir():
        arrays = read_orbax(path)
        if arrays is None:
            raise InputError(f"{path} holds no finished run and no Orbax checkpoint; accepted: {ACCEPTED}")
        kind, sha256, metadata = "orbax", fingerprint.of_tree(arrays), {}
    elif path.is_file():
        arrays, metadata, sha256, kind = models.read_weights(path)
    else:
        raise InputError(f"{path} is not there; accepted: {ACCEPTED}")
    try:
        found = _specification(metadata["kdjax"]) if kind == "kdjax" else dict(specification)
        if "name" not in found:
            raise InputError("it does not say which net it holds")
        wanted = _wanted(found, shape)
        if kind in ("kdjax", "orbax"):
            params, stats = _parts(_fill(arrays, found["name"], wanted))
        else:
            params, stats = models.from_pytorch(found["name"], arrays, *_parts(wanted))
    except InputError as error:
        raise InputError(f"{path} is refused: {error}") from None
    return Teacher(models.build(found), params, stats, sha256, kind, found)


class _Alone(NamedTuple):
    network: Follower


def measure_teacher(teacher: Teacher, run: Run, view: Callable) -> dict[str, list[float]]:
    """What a teacher can do on the test images of a run, before anybody learns from it: `{"test_accuracy": [x], ...}`.

    Args:
      teacher: what is measured.
      run: its test images, and where it computes.
      view: `images as they are read -> images` for the network.
    """
    predict, _ = read_by_name(network=teacher.net)
    state = place(stack([_Alone(Follower(teacher.params, teacher.stats))]), run.devices, lead=1)
    ask = collector(predict, run, on_devices(run._replace(splits={"test": run.splits["test"]})), view)
    measures = classification(partial(ask, state), "test", True)
    return {f"test_{name}": np.ravel(value).astype(float).tolist() for name, value in measures.items()}


def _specification(text: str) -> dict:
    try:
        found = json.loads(text)
        models.build(found)
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"its metadata 'kdjax' is no specification of a net: {text[:80]!r}") from None
    return found


def _parts(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    whole = nested(arrays)
    return whole["params"], whole.get("stats", {})


def _wanted(specification: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of a net by path, as shapes, in the order in which the net makes them."""
    wanted: dict[str, jax.ShapeDtypeStruct] = {}

    def walk(tree, path):
        if isinstance(tree, Mapping):
            for name, inside in tree.items():
                walk(inside, f"{path}/{name}")
        else:
            wanted[path] = jax.ShapeDtypeStruct(tree.shape, tree.dtype)

    def init(key, x):
        for part, tree in zip(("params", "stats"), models.build(specification).init(key, x), strict=True):
            walk(tree, part)

    try:
        jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    except InputError:
        raise
    except Exception as error:  # a normalisation of other channels, a net of other sides: JAX and flax report it in many ways
        raise InputError(f"it does not take images {tuple(shape)}: {str(error).splitlines()[0]}") from error
    return wanted


def _fill(arrays: Mapping[str, Any], name: str, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """The wanted arrays; one line where one is missing, differs or is left over."""
    for path, want in wanted.items():
        if path not in arrays:
            rest = ", ".join(repr(k) for k in list(arrays)[:3])
            raise InputError(f"{path} is not in it, {name} has it {want.shape}; it holds {rest or 'nothing'}")
        if tuple(arrays[path].shape) != want.shape:
            raise InputError(f"{path} is {tuple(arrays[path].shape)} in it, {name} has {want.shape}")
    if more := [k for k in arrays if k not in wanted]:
        raise InputError(f"{more[0]!r} is {tuple(arrays[more[0]].shape)} in it, {name} has none")
    return {path: np.asarray(arrays[path]).astype(want.dtype) for path, want in wanted.items()}
