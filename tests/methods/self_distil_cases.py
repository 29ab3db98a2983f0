"""The methods of a network that teaches itself on tiny nets."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny_nets import CLASSES, LABELS, Case, images, labelled_images, small, staged

from kdjax import methods
from kdjax.core import Net, row_keys
from kdjax.models import bifpn, exits


def self_distil(make: Any, rate: float = 0.5, noisy: bool = False, views: bool = False, **fixed: Any) -> Callable[..., Case]:
    """The case of a method of methods/self_distil/."""

    def case(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
        net = net or small(axis_name)
        method = make(net, tx or optax.sgd(rate), axis_name=axis_name, **fixed | options)
        batch = labelled_images() | ({"views": (images(), images() + 0.1 * images(1))} if views else {})
        return Case(method, batch, {}, {"network": net}, lambda s: s.learner.params["student"], "loss", noisy)

    return case


def with_exits(make: Any, rate: float = 0.1, **fixed: Any) -> Callable[..., Case]:
    """The case of one with classifiers behind the stages of its net."""
    heads = lambda axis_name: exits({"name": "conv_net", "classes": CLASSES}, axis_name=axis_name)  # noqa: E731
    return with_heads(make, "exits", heads, rate, **fixed)


def with_heads(make: Any, option: str, heads: Callable[[str | None], Net], rate: float, **fixed: Any) -> Callable[..., Case]:
    """The case of one with heads on the stages of its net, an option of it."""

    def case(axis_name: str | None = None, net: Net | None = None, tx: Any = None, **options: Any) -> Case:
        own = self_distil(make, rate, **{option: heads(axis_name)}, **fixed)
        return own(axis_name, net or staged(axis_name), tx, **options)._replace(moved=lambda s: s.learner.params)

    return case


def sad(axis_name: str | None = None, net: Net | None = None, **options: Any) -> Case:
    return self_distil(methods.sad, rate=0.2)(axis_name, net or staged(axis_name), **options)


def cs_kd(*args: Any, **options: Any) -> Case:
    """Rows 2i and 2i + 1 are of one class."""
    case, order = self_distil(methods.cs_kd)(*args, **options), np.argsort(LABELS, kind="stable")
    return case._replace(batch={name: x[order] for name, x in case.batch.items()})


def submodels(axis_name: str | None = None, rate: float = 0.5) -> Net:
    """A net as a plain pair of functions, whose rows leave out a branch at random."""

    def init(key, x):
        shapes = {"first": (x[0].size, 6), "branch": (6, 6), "classifier": (6, CLASSES)}
        keys = dict(zip(shapes, jax.random.split(key, 3), strict=True))
        return {n: {"kernel": jax.random.normal(keys[n], shape) / shape[0] ** 0.5} for n, shape in shapes.items()}, {}

    def apply(params, stats, x, *, train, key=None):
        first, branch, last = (params[name]["kernel"] for name in ("first", "branch", "classifier"))
        h = jnp.tanh(x.reshape(len(x), -1) @ first)
        kept = jnp.ones(len(x))
        if train and rate:
            kept = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - rate))(row_keys(key, len(x), axis_name)) / (1 - rate)
        h = h + kept[:, None] * jnp.tanh(h @ branch)
        return {"pooled": h, "logits": h @ last}, stats

    return Net(init, apply)


def cosub(axis_name: str | None = None, net: Net | None = None, **options: Any) -> Case:
    return self_distil(methods.cosub, rate=2.0, noisy=True)(axis_name, net or submodels(axis_name), **options)


def swa(*args: Any, **options: Any) -> Case:
    case = self_distil(methods.swa, start=2, every=2)(*args, **options)
    return case._replace(moved=lambda s: (s.inner.learner.params, s.averages[0].params), beside=("online_network",))


SELF_DISTIL = {
    "bake": self_distil(methods.bake),
    "byot": with_exits(methods.byot),
    "confidence_penalty": self_distil(methods.confidence_penalty),
    "cosub": cosub,
    "cs_kd": cs_kd,
    "cyclical": self_distil(methods.cyclical, steps_per_epoch=2, epochs=40, temperature=(0.5, 2.0)),
    "ddgsd": self_distil(methods.ddgsd, rate=2.0, views=True),
    "dks": with_exits(methods.dks),
    "dropout": self_distil(methods.dropout, noisy=True),
    "focal": self_distil(methods.focal),
    "frskd": with_heads(methods.frskd, "pyramid", lambda axis_name: bifpn(CLASSES, width=1, depth=1, axis_name=axis_name), 0.1),
    "mixskd": with_exits(methods.mixskd, noisy=True),
    "ps_kd": self_distil(methods.ps_kd, labels=LABELS, steps_per_epoch=10, epochs=20),
    "sad": sad,
    "sd_dropout": self_distil(methods.sd_dropout, noisy=True, weight=0.1),
    "swa": swa,
    "tf_kd": self_distil(methods.tf_kd),
}
