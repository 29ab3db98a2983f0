"""The first step of a method of views, beside what its nets see in it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from cases import CASES, start
from tiny_nets import Case

from kdjax.core import chain
from kdjax.models import conv_net, mlp_head

KEY = jax.random.key(5)
NETS = {"encoder": conv_net((4,), None), "projector": mlp_head(6, 5), "predictor": mlp_head(6, 5)}


class First(NamedTuple):
    """A step, and the taps of every view.

    Attributes:
      case: the method with its batch.
      state: before.
      new: after.
      metrics: of the step.
      online: the taps of the online nets.
      target: those of the followers; of a method without, empty.
    """

    case: Case
    state: Any
    new: Any
    metrics: dict
    online: list[dict]
    target: list[dict]


@functools.cache
def first_step(name: str, together: bool = False, **options: Any) -> First:
    """Takes the first step; the taps are those of plain passes through the nets, a view each or all of them together."""
    case = CASES[name](**options)
    state = start(case)
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    sides = [state.online, state.target] if state.target else [state.online]
    found = [_taps(side, case.batch["views"], together) for side in sides]
    return First(case, state, new, {k: float(v) for k, v in metrics.items()}, found[0], found[1] if state.target else [])


def _taps(side, views, together):
    names = [name for name in NETS if name in side.params]
    see = _passes(tuple(names))
    params, stats = ({name: tree[name] for name in names} for tree in (side.params, side.stats))
    seen = [see(params, stats, jnp.concatenate(views))] if together else [see(params, stats, view) for view in views]
    if together:
        seen = [{k: np.split(v, len(views))[n] for k, v in seen[0].items()} for n in range(len(views))]
    return [{k: np.float64(v) for k, v in taps.items()} for taps in seen]


@functools.cache
def _passes(names):
    net = chain(**{name: NETS[name] for name in names})
    return jax.jit(lambda params, stats, x: net.apply(params, stats, x, train=True)[0])


def unit(x):
    """Directions of rows; a row of zeros stays one."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def cosines(a, b):
    """Of the rows of both, `[B]`."""
    return np.sum(unit(a) * unit(b), -1)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
