"""A tiny net, data and stages for the tests of training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import augment, methods
from kdjax.core import Net
from kdjax.data import Damaged, array_source
from kdjax.train import Pace, Records, Run, Stage, Stopped, run_stages
from kdjax.train.devices import one_device
from kdjax.train.identity import Identity

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 3
IMAGES = (RNG.integers(0, 128, (40, 4, 4, 1)) + 60 * LABELS[:, None, None, None]).astype(np.uint8)
TRAIN, VAL, TEST = array_source(IMAGES, LABELS), array_source(IMAGES[:9], LABELS[:9]), array_source(IMAGES[9:20], LABELS[9:20])


def linear(classes=3):
    """A Net without statistics whose parameters are a list, not a dict."""

    def init(key, x):
        return [0.1 * jax.random.normal(key, (math.prod(x.shape[1:]), classes)), jnp.zeros(classes)], {}

    def apply(params, stats, x, *, train, key=None):
        flat = x.reshape(x.shape[0], -1)
        return {"pooled": flat, "logits": flat @ params[0] + params[1][None]}, stats

    return Net(init, apply)


def sgd(rate=0.1):
    return optax.sgd(rate, momentum=0.9)


def noisy(key, image):
    return image + 0.1 * jax.random.normal(key, image.shape)


def accuracy(collect, split, final):
    """Accuracy in percent of the first network, without compiling anything."""
    outputs, columns = collect(split, "logits")
    logits = next(iter(outputs.values()))["logits"]
    return {"accuracy": 100 * np.mean(np.argmax(logits, -1) == columns["label"], -1)}


def stage(method=None, **changed):
    """12 steps in blocks of 2, evaluated and saved every 4; two steps an epoch."""
    fields = {
        "method": method or methods.supervised(linear(), sgd()), "steps": 12, "batch": 16, "pace": Pace(2, 4, 4),
        "nets": {}, "source": TRAIN, "augment": augment.per_image(noisy), "evaluate": accuracy,
        "score": "accuracy",
    }  # fmt: skip
    return Stage(**(fields | changed))


def run(folder, said=None, devices=None, **changed):
    """One run in `folder`; what it says is added to the list `said`."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        "folder": folder, "records": Records(folder), "seed": 3, "data_seed": 1, "share": "batch", "how": "map", "select": "last",
        "splits": {"val": VAL, "test": TEST}, "digest": "data", "devices": devices or one_device(), "damaged": set(), "cache": None,
        "stop": lambda: False, "say": (said if said is not None else []).append, "progress": lambda *_: None,
    }  # fmt: skip
    return Run(**(fields | changed))


def broken(source, *bad):
    """The same source with rows that cannot be decoded."""

    def read(rows):
        for position, row in enumerate(rows):
            if row in bad:
                raise Damaged(f"image {row}.png: cannot be decoded", position)
        return source.read(rows)

    return source._replace(read=read)


def mapped(make, devices, **changed):
    """The stage of the method `make(axis_name)` on the devices of a run."""
    return stage(make(devices.axis_name), unmapped=make(None), **changed)


def named(name):
    """An identity that nothing but a name makes."""
    return Identity({"settings": {"name": name}, "inputs": {}, "programs": {}})


def after(blocks):
    """A `stop` that asks to stop after so many blocks."""
    left = iter([False] * (blocks - 1) + [True])
    return lambda: next(left)


def untrainable(stage):
    """A stage of the same identity, which fails when it is trained."""

    def boom(state, batch, key):
        raise AssertionError("this stage was to be read back, not trained")

    return stage._replace(method=stage.method._replace(step=boom), unmapped=stage.method)


def assert_same(a, b):
    """The same structure and the same bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def assert_close(a, b, tolerance):
    """The same structure, and no number further off than `tolerance` times the largest."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    largest = max(1.0, *(np.max(np.abs(x)) for x in jax.tree.leaves(b)))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * largest)


def weights(results, name="network"):
    return next(iter(results.values())).weights[name]


def metrics(folder):
    return (folder / "metrics.jsonl").read_text()


def resumed(folder, stages, stops, said=None, **options):
    """The results of a run that is stopped after each of the numbers of blocks, then goes on to the end."""
    for blocks in stops:
        with pytest.raises(Stopped, match="is saved at step"):
            run_stages(stages, run(folder, said, stop=after(blocks), **options))
    return run_stages(stages, run(folder, said, **options))


def with_params(state, params):
    """A State whose student has these weights."""
    return state._replace(learner=state.learner.replace(params={**state.learner.params, "student": params}))
