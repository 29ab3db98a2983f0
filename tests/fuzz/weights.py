"""Files of weights, runs and Orbax checkpoints that are damaged, forged or wrapped in another way.

Each case makes a good place, changes it, and reads it as a teacher and by `kdjax.load`. Right are one line of refusal, or weights:
those of the net, finite, and where only what lies around them was changed, the very ones.
"""

import json
import os
import shutil
import time
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from safetensors.numpy import save

from kdjax import models
from kdjax.core import InputError
from kdjax.core.printable import printable
from kdjax.models import to_pytorch, write_weights
from kdjax.train import fingerprint, load
from kdjax.train.checkpoint import Checkpoints
from kdjax.train.identity import Identity
from kdjax.train.teacher import read_teacher
from tests.torch_file import torch_file

SHAPE = (8, 8, 1)
NETS = {
    "vit": {"name": "vit", "patch": 4, "width": 4, "depth": 1, "heads": 1, "classes": 3},
    "conv_net": {"name": "conv_net", "widths": [2, 2], "classes": 3, "mean": [0.5], "std": [0.25]},
}
SECONDS = 60  # that no case may take


@lru_cache
def _weights(name):
    net = models.build(NETS[name])
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SHAPE), np.float32))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.uniform(0.1, 0.3, s.shape).astype(np.float32), shapes)


@lru_cache
def _good(form):
    """A good place of a form: its files by path."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        if form == "run":
            saved = Checkpoints(place / "models" / "student", Identity({"settings": {}, "inputs": {}, "programs": {}}))
            params, stats = _weights("conv_net")
            weights = jax.tree.map(lambda x: x[None], {"network": {"params": params, "stats": stats}})
            saved.save(0, weights, {"nets": {"network": NETS["conv_net"]}})
            saved.close()
            (place / "config.json").write_text(json.dumps({"stages": ["student"], "data": {"shape": list(SHAPE), "crop": 0}}))
        else:
            with ocp.StandardCheckpointer() as writer:
                writer.save(place, dict(zip(("params", "stats"), _weights("conv_net"), strict=True)))
        return {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}


def attempt(random: np.random.Generator, folder: Path) -> tuple[str, str]:
    """One case."""
    form, name, expected, tried = _made(random, folder)
    place, began = folder / "place", time.monotonic()
    asked = [("read_teacher", lambda: read_teacher(place, NETS[name], SHAPE)[1:3])]
    if form == "run":
        asked.append(("load", lambda: load(place)[1:]))
    for way, read in asked:
        try:
            found = read()
        except InputError as error:
            if printable(error) != str(error):
                return tried, f"{way}: not one line that can be shown: {str(error)!r}"
            if expected is not None:
                return tried, f"{way}: what was not harmed is refused: {error}"
            continue
        if complaint := _wrong(found, _weights(name), expected):
            return tried, f"{way}: {complaint}"
    if (took := time.monotonic() - began) > SECONDS:
        return tried, f"took {took:.0f} s"
    return tried, ""


def _wrong(found, good, expected):
    if jax.tree.structure(found) != jax.tree.structure(tuple(good)):
        return "other arrays than those of the net"
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(tuple(good)), strict=True))
    if any(a.shape != b.shape or not np.all(np.isfinite(a)) for a, b in pairs):
        return "arrays of another shape, or not finite"
    if expected is not None and any(not np.array_equal(a, b + expected) for a, b in pairs):
        return "other numbers than those that were saved"
    return ""


def _made(random, folder):
    """Writes `folder/place`: `(form, net, what is added to the weights if they must be read, else None, what was tried)`."""
    form = random.choice(["kdjax", "safetensors", "pytorch", "wrapped", "run", "orbax"])
    place = folder / "place"
    if form == "wrapped":
        value, tried, expected = _wrapped(random)
        place.write_bytes(torch_file(value))
        return form, "vit", expected, f"{form}: {tried}"
    if form in ("run", "orbax"):
        files = dict(_good(form))
        for path, content in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        tried = _harm_folder(random, place, sorted(files), form)
        return form, "conv_net", None, f"{form}: {tried}"
    name = "conv_net" if form == "kdjax" else "vit"
    theirs = to_pytorch("vit", *_weights("vit"))
    if form == "kdjax":
        specification, tried = _specification(random)
        params, stats = _weights(name)
        write_weights(place, params, stats, specification)
    elif form == "safetensors":
        arrays, tried = _arrays(random, theirs)
        place.write_bytes(save(arrays))
    else:
        arrays, tried = _arrays(random, theirs)
        place.write_bytes(torch_file({"state_dict": arrays}))
    if random.random() < 0.6:
        content, more = _harmed(random, place.read_bytes())
        place.write_bytes(content)
        tried += f", {more}"
    return form, name, None, f"{form}: {tried}"


ODD = (
    0,
    -1,
    1,
    3,
    2**20,
    2**31,
    10**10,
    10**30,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    None,
    True,
    "",
    "x",
    "\x1b[31m",
    [],
    {},
    [[]],
    "[" * 1000,
)


def _odd(random):
    return ODD[random.integers(len(ODD))]


def _specification(random):
    found = {**NETS["conv_net"], **(NETS["vit"] if random.random() < 0.2 else {})}
    for _ in range(random.integers(0, 3)):
        key = str(random.choice([*found, "depth", "net", "nets", "dtype", "axis_name", "stem", "positions", "\n"]))
        found[key] = _odd(random) if random.random() < 0.7 else [_odd(random), _odd(random)]
    return found, f"specification {str(found)[:300]}"


def _arrays(random, arrays):
    found = dict(arrays)
    names = list(found)
    for _ in range(random.integers(0, 3)):
        name, x = (key := names[random.integers(len(names))]), found.get(key, np.zeros(2, np.float32))
        way = random.integers(7)
        if way == 0:
            found.pop(name, None)
        elif way == 1:
            found[name + "x"] = x
        elif way == 2:
            found[name] = x.astype([np.float16, np.float64, np.int8, np.int64][random.integers(4)])
        elif way == 3:
            found[name] = np.where(random.random(x.shape) < 0.5, x, np.float32([np.nan, np.inf, 3e38][random.integers(3)]))
        elif way == 4:
            found[name] = x.reshape(-1)
        elif way == 5:
            found = {f"a.{k}": v for k, v in found.items()}
        else:
            found |= {f"b.{k}": v + 1 for k, v in arrays.items()}
    return {k: np.ascontiguousarray(x) for k, x in found.items()}, "other arrays"


def _wrapped(random):
    """A `state_dict` wrapped as training scripts do it: it must be found."""
    theirs = to_pytorch("vit", *_weights("vit"))
    prefix = str(random.choice(["", "module.", "model.", "timm_model.", "_orig_mod.module.", "backbone.net."]))
    value = {prefix + k: x for k, x in theirs.items()}
    value |= {"criterion.weight": np.ones(2, np.float32)} if prefix and random.random() < 0.5 else {}
    other = {prefix + k: x + 1 for k, x in theirs.items()}
    key = str(random.choice(["state_dict", "model", "weights", "params", "network", "model_state"]))
    tried = f"under {key!r} behind {prefix!r}"
    value = {key: value, "epoch": 3, "best": np.ones((), np.float32)}
    if random.random() < 0.5:
        value[f"{key}_ema"] = other
        tried += ", EMA beside it"
    if random.random() < 0.5:
        value["optimizer"] = {"state": {0: {"exp_avg": np.ones(3, np.float32)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        tried += ", an optimiser"
    if random.random() < 0.3:
        value = {"checkpoint": value}
    items = list(value.items())
    return dict([items[i] for i in random.permutation(len(items))]), tried, 0


def _harmed(random, content):
    """Some bytes flipped, a part left out, repeated or made zero."""
    content = bytearray(content)
    way = random.integers(5)
    start = int(random.integers(max(len(content), 1)))
    if way == 0:
        for _ in range(random.integers(1, 5)):
            if content:
                content[random.integers(len(content))] ^= 1 << random.integers(8)
        return bytes(content), "bits flipped"
    end = min(len(content), start + int(random.integers(1, 64)))
    if way == 1:
        return bytes(content[:start]), f"cut off at {start}"
    if way == 2:
        return bytes(content[:start] + content[end:]), f"without {start} to {end}"
    if way == 3:
        return bytes(content[:end] + content[start:]), f"{start} to {end} twice"
    content[start:end] = bytes(end - start)
    return bytes(content), f"zeros from {start} to {end}"


def _harm_folder(random, place, files, form):
    way = random.integers(6)
    path = files[random.integers(len(files))]
    if form == "run" and way < 3:
        return _forge(random, place)
    if way == 3:
        os.unlink(place / path)
        return f"without {path}"
    if way == 4:
        shutil.rmtree(place / path.parent) if len(path.parts) > 1 else os.unlink(place / path)
        return f"without {path.parent}"
    if way == 5 and path.suffix != "":
        (place / path).write_text(json.dumps(_odd(random)))
        return f"{path} is another value"
    content, tried = _harmed(random, (place / path).read_bytes())
    (place / path).write_bytes(content)
    return f"{path}: {tried}"


def _forge(random, place):
    """Another value somewhere in the manifest or the records, with the right sha256."""
    file = place / "models" / "student" / "0" / "manifest" / "metadata"
    if random.random() < 0.3:
        file = place / "config.json"
        found = json.loads(file.read_text())
        tried = _put(random, found)
        file.write_text(json.dumps(found))
        return f"config.json with {tried}"
    content = json.loads(file.read_text())["content"]
    tried = _put(random, content)
    file.write_text(json.dumps({"content": content, "sha256": fingerprint.of_json(content)}))
    return f"a manifest with {tried}"


def _put(random, node):
    at = []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[random.integers(len(keys))]
        at.append(str(key))
        inside = node[key]
        if not isinstance(inside, dict | list) or not inside or random.random() < 0.3:
            break
        node = inside
    node[key] = value = _odd(random)
    return f"{'/'.join(at)} = {str(value)[:40]!r}"
