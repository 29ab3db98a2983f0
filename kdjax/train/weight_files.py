"""Weights from outside, fitted to a net: from a run, a file, an Orbax checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.core import InputError, check_memory
from kdjax.core.files import parse_json
from kdjax.core.printable import printable
from kdjax.core.tree_paths import by_path
from kdjax.models.pretrained import nested
from kdjax.models.pretrained.convert import fit_pytorch
from kdjax.models.pretrained.fit import Fitted, advice, is_head, leftover, resized
from kdjax.models.pretrained.numbers import as_weight
from kdjax.train import fingerprint
from kdjax.train.orbax_tree import read_orbax

ACCEPTED = "a run's folder, a safetensors file, a PyTorch checkpoint (.pth, .pt, .bin), the folder of an Orbax checkpoint"
_LAYERS = 4, 400  # calls of layers a net may make for each array that a file holds, and beside that


class Found(NamedTuple):
    """What lies at a path, before it is known which net it is for.

    Attributes:
      arrays: by name.
      format: `"run"`, `"orbax"`, or that of a `models.WeightFile`.
      sha256: of the file; of a folder, over the paths and arrays of the weights.
      specification: of the net, where what was found says it.
      told: which of several sets of weights was taken.
      part: what of `part` is a prefix of names.
    """

    arrays: Mapping[str, Any]
    format: str
    sha256: str
    specification: dict | None = None
    told: str = ""
    part: str = ""


def find(path: Path, part: str = "", member_number: int = 0) -> Found:
    """Reads what lies at a path.

    Args:
      path: a run's folder, whose last stage is taken; a safetensors file; a PyTorch checkpoint; the folder of an Orbax checkpoint.
      part: of a run the name of one of the networks of that stage, else the first is taken; of a file as `models.read_weights` and
        `models.from_pytorch` take it.
      member_number: of a run.

    Raises:
      InputError: one line that names the path, what was found there and what is accepted.
    """
    if (path / "config.json").is_file():
        from kdjax.train.load import read_run

        specification, params, stats = read_run(path, network=part or None, member_number=member_number)
        arrays = by_path({"params": params, "stats": stats})
        return Found(arrays, "run", fingerprint.of_tree((params, stats)), specification)
    if path.is_dir():
        arrays = read_orbax(path)
        if arrays is None:
            raise InputError(f"{path} holds no finished run and no Orbax checkpoint; accepted: {ACCEPTED}")
        return Found(arrays, "orbax", fingerprint.of_tree(arrays), part=part)
    if not path.is_file():
        raise InputError(f"{path} is not there; accepted: {ACCEPTED}")
    file = models.read_weights(path, part=part)
    try:
        specification = _specification(file.metadata["kdjax"]) if file.format == "kdjax" else None
    except InputError as error:
        raise InputError(printable(f"{path} is refused: {error}")) from None
    return Found(file.arrays, file.format, file.sha256, specification, file.told, file.part)


def fit(
    found: Found, specification: Mapping[str, Any], shape: tuple[int, ...], *, resize: bool = False, new_head: bool = False
) -> Fitted:
    """What was found, as the net of a specification has it.

    Args:
      found: as `find` gives it.
      specification: of the net, for `models.build`.
      shape: of one image, `(H, W, C)`.
      resize: whether the positions of a transformer are resized to these images, bicubically as timm does it.
      new_head: whether the net's head may be missing or of another shape: it is then left out, and so is a head that the net lacks.

    Raises:
      InputError: one line that names the first array that differs.
    """
    wanted = wanted_arrays(specification, shape, len(found.arrays))
    name, side = str(specification["name"]), (shape[0], shape[1]) if resize else None
    if found.format in ("kdjax", "orbax", "run"):
        if found.part:
            raise InputError(f"it has no part {found.part!r}: it holds one network")
        fitted = _filled(found.arrays, name, wanted, side, new_head)
    else:
        fitted = fit_pytorch(name, found.arrays, *_parts(wanted), part=found.part, side=side, new_head=new_head)
    return fitted._replace(told="; ".join(filter(None, [found.told, fitted.told])))


def check_same(specification: Mapping[str, Any], params: Any, stats: Any, shape: tuple[int, ...]) -> None:
    """Refuses weights that are not those of the net of a specification.

    Raises:
      InputError: one line that names the first array that differs.
    """
    arrays = by_path({"params": params, "stats": stats})
    wanted = wanted_arrays(specification, shape, len(arrays))
    for path, want in wanted.items():
        _check_shape(path, arrays.get(path), want, str(specification["name"]), arrays)
    _check_left([path for path in arrays if path not in wanted], arrays, str(specification["name"]))


def wanted_arrays(specification: Mapping[str, Any], shape: tuple[int, ...], arrays: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of a net by path, as shapes, in the order in which the net makes them.

    Args:
      specification: of the net.
      shape: of one image.
      arrays: how many there are to fill it with: a net of far more layers is not worth its making.

    Raises:
      InputError: for a specification, an image or a number of layers that do not fit.
    """
    net, seen = models.build(specification), models.input_shape(specification, shape)
    check_memory(f"an image of {'x'.join(map(str, shape))}", 4 * math.prod(shape), "smaller images")
    wanted: dict[str, jax.ShapeDtypeStruct] = {}
    calls, most = 0, _LAYERS[0] * arrays + _LAYERS[1]

    def walk(tree, path):
        if isinstance(tree, Mapping | tuple | list):
            for name, inside in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
                walk(inside, f"{path}/{name}")
        else:
            wanted[path] = jax.ShapeDtypeStruct(tree.shape, tree.dtype)

    def counted(call, args, options, context):
        nonlocal calls
        calls += 1
        if calls > most:
            raise InputError(f"{specification['name']} of such a size has more layers than the {arrays} arrays in it can fill")
        return call(*args, **options)

    def init(key, x):
        with nn.intercept_methods(counted):
            made = net.init(key, x)
        for part, tree in zip(("params", "stats"), made, strict=True):
            walk(tree, part)

    try:
        jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, *seen), jnp.float32))
    except InputError:
        raise
    except Exception as error:  # a normalisation of other channels, a net of other sides: JAX and flax report it in many ways
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"it does not take {'images' if seen == shape else 'latents'} {tuple(seen)}: {reason[0]}") from error
    return wanted


def _specification(text: str) -> dict:
    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "name" not in found:
        raise InputError(f"its metadata 'kdjax' is no specification of a net: {text[:80]!r}")
    models.build(found)
    return found


def _parts(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    whole = nested(arrays)
    return whole.get("params", {}), whole.get("stats", {})


def _filled(arrays: Mapping[str, Any], name: str, wanted: Mapping[str, Any], side: Any, new_head: bool) -> Fitted:
    """The wanted arrays; one line where one is missing, differs or is left over."""
    filled: dict[str, np.ndarray] = {}
    fresh, notes, table = [], [], "params/positions"
    for path, want in wanted.items():
        found = arrays.get(path)
        if new_head and is_head(path) and (found is None or tuple(found.shape) != want.shape):
            fresh.append(path)
            continue
        if not (side and path == table and found is not None and found.ndim == 3 and found.shape[::2] == want.shape[::2]):
            _check_shape(path, found, want, name, arrays)
        elif found.shape != want.shape:
            notes.append(f"positions resized from {found.shape} to {want.shape}")
        filled[path] = as_weight(path, found, path, want)
    left = [path for path in arrays if path not in wanted]
    heads = [path for path in left if new_head and is_head(path)]
    _check_left([path for path in left if path not in heads], arrays, name)
    if side and table in filled:
        filled = resized(filled, side)
    return Fitted(*_parts(filled), "; ".join(filter(None, [*notes, leftover(heads)])), tuple(fresh))


def _check_shape(path: str, found: Any, want: Any, name: str, arrays: Mapping[str, Any]) -> None:
    if found is None:
        rest = ", ".join(repr(k) for k in list(arrays)[:3])
        raise InputError(f"{path} is not in it, {name} has it {want.shape}; it holds {rest or 'nothing'}")
    if tuple(found.shape) != want.shape:
        help_ = advice(name, path, tuple(found.shape), want.shape)
        raise InputError(f"{path} is {tuple(found.shape)} in it, {name} has {want.shape}{help_}")


def _check_left(left: list[str], arrays: Mapping[str, Any], name: str) -> None:
    if left:
        raise InputError(f"{left[0]!r} is {tuple(arrays[left[0]].shape)} in it, {name} has none")
