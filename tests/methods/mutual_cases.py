"""The methods of peers on tiny nets."""

from collections.abc import Callable
from typing import Any

import optax
from tiny_nets import Case, branches_of, labelled_images, small, staged

from kdjax import methods
from kdjax.core import Net


def mutual(make: Any, **fixed: Any) -> Callable[..., Case]:
    """The case of a method of methods/mutual/ on two peers."""

    def case(axis_name: str | None = None, nets: tuple[Net, ...] | None = None, tx: Any = None, **options: Any) -> Case:
        nets = nets or (small(axis_name), small(axis_name, 6))
        method = make(nets, tx or optax.sgd(0.5), axis_name=axis_name, **fixed | options)
        named = {f"peer{k}": net for k, net in enumerate(nets)}
        return Case(method, labelled_images(), {}, named, lambda s: [p.params for p in s.peers], "peer0_loss")

    return case


dml = mutual(methods.dml)


def hssakd(axis_name: str | None = None, tx: Any = None, **options: Any) -> Case:
    nets = (staged(axis_name), staged(axis_name, 6))
    heads = [branches_of(axis_name) for _ in nets]
    method = methods.hssakd(nets, heads, tx or optax.sgd(0.4), axis_name=axis_name, **options)
    named, beside = {f"peer{k}": net for k, net in enumerate(nets)}, ("peer0_branches", "peer1_branches")
    return Case(method, labelled_images(), {}, named, lambda s: [p.params for p in s.peers], "peer0_loss", beside=beside)


def together(make: Any, count: int = 2, rate: float = 0.3, adapter: bool = True, **fixed: Any) -> Callable[..., Case]:
    """The case of a method whose peers share a trunk, or layers behind all of them."""

    def case(axis_name: str | None = None, nets: tuple[Net, ...] | None = None, tx: Any = None, **options: Any) -> Case:
        nets = nets or (staged(axis_name),) * count
        own = mutual(make, steps_per_epoch=10, **{"warmup_epochs": 0, **fixed})(axis_name, nets, tx or optax.sgd(rate), **options)
        moved = lambda s: [one.params for one in (*s.peers, s.adapter, s.trunk) if one]  # noqa: E731
        return own._replace(moved=moved, beside=("adapter",) if adapter else ())

    return case


MUTUAL = {
    "cl_ilr": together(methods.cl_ilr, adapter=False),
    "dml": dml,
    "ffl": together(methods.ffl),
    "hssakd": hssakd,
    "kdcl": mutual(methods.kdcl),
    "mfef": together(methods.mfef, scales=2, reduction=2, feature_weight=0.1),
    "okddip": together(methods.okddip, count=3),
    "one": together(methods.one),
}
