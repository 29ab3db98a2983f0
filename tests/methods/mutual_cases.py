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


MUTUAL = {
    "dml": dml,
    "hssakd": hssakd,
    "kdcl": mutual(methods.kdcl),
}
