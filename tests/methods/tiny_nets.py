"""What a test of a method is given: a case, images of four classes, tiny nets and teachers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Frozen, Method, Net, jit_fast_compile
from kdjax.models import branches, bridge, conv_net

ROWS, CLASSES = 16, 4


class Case(NamedTuple):
    """A method with what a test of it needs.

    Attributes:
      method: the method.
      batch: what one step takes.
      given: weights from outside.
      nets: the networks of `predict` by name, the shipped one first.
      moved: `state -> ` parameters that a step must change.
      falls: the metric that training lowers.
      noisy: whether the key of a step matters.
      still: `state -> ` parameters that the loss does not reach, and that no step changes.
      beside: the networks that the method trains, or that follow, beside those of `predict`.
      rounding: by which the State behind a step may differ over devices; the directions of short embeddings differ by more.
    """

    method: Method
    batch: dict
    given: dict
    nets: dict[str, Net]
    moved: Callable[[Any], Any]
    falls: str
    noisy: bool = False
    still: Callable[[Any], Any] = lambda state: {}
    beside: tuple[str, ...] = ()
    rounding: float = 1e-6


LABELS = jnp.arange(ROWS) % CLASSES
DRAWN: dict[tuple[str, int], tuple[dict, dict]] = {}


def images(seed: int = 0) -> jax.Array:
    """Stripes, whose width and brightness tell the class, under noise."""
    x = np.random.default_rng(seed).uniform(size=(ROWS, 8, 8, 1)) / 2
    for k in range(ROWS):
        x[k, :: 1 + k % CLASSES] += (1 + k % CLASSES) / 4
    return jnp.asarray(x, jnp.float32)


def labelled_images() -> dict:
    return {"image": images(), "label": LABELS, "index": jnp.arange(ROWS)}


def frozen(net: Net, seed: int = 9, scale: float = 3.0) -> Frozen:
    """A teacher that is surer than an untrained net, and whose statistics are not those it starts with."""
    form = str(jax.eval_shape(net.init, jax.random.key(seed), images()))  # most cases have the same one
    if (form, seed) not in DRAWN:
        DRAWN[form, seed] = jax.device_get(jit_fast_compile(net.init)(jax.random.key(seed), images()))
    params, stats = DRAWN[form, seed]
    return Frozen(jax.tree.map(lambda p: scale * p, params), jax.tree.map(lambda s: s + 0.1, stats), source="of a test")


def without_batch_norm(width: int = 5) -> Net:
    """A net as a plain pair of functions; its rows do not see each other."""

    def init(key, x):
        a, b = jax.random.split(key)
        inputs = int(np.prod(x.shape[1:]))
        return {"a": jax.random.normal(a, (inputs, width)) / 8, "b": jax.random.normal(b, (width, CLASSES))}, {}

    def apply(params, stats, x, *, train, key=None):
        pooled = jnp.tanh(x.reshape(x.shape[0], -1) @ params["a"])
        return {"pooled": pooled, "logits": pooled @ params["b"]}, stats

    return Net(init, apply)


def dropped(net: Net) -> Net:
    """The same net with dropout on its inputs; without a key it cannot train."""

    def apply(params, stats, x, *, train, key=None):
        if train:
            assert key is not None
            x = 2 * x * jax.random.bernoulli(key, 0.5, x.shape)
        return net.apply(params, stats, x, train=train, key=key)

    return Net(net.init, apply)


def small(axis_name: str | None = None, width: int = 4) -> Net:
    return conv_net((width,), CLASSES, axis_name=axis_name)


def staged(axis_name: str | None = None, width: int = 4) -> Net:
    """A net of two stages, for what compares maps."""
    return conv_net((width, width + 2), CLASSES, axis_name=axis_name)


def branches_of(axis_name: str | None = None) -> Net:
    """Classifiers of class and rotation behind the stages of `staged`."""
    return branches({"name": "conv_net", "classes": CLASSES}, axis_name=axis_name)


def bridge_of(axis_name: str | None = None) -> Net:
    """A last stage of its own for `staged`."""
    return bridge({"name": "conv_net", "classes": CLASSES}, axis_name=axis_name)
