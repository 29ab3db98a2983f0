"""Classifiers behind the stages of the network, which learn beside it and are not shipped."""

from collections.abc import Mapping

import jax

from kdjax.core import Net


def behind(exits: Net) -> Net:
    """`models.exits` as the adapter of an objective: of the network's own taps."""

    def init(key, seen):
        return exits.init(key, seen.student)

    def apply(params, stats, seen, *, train, key=None):
        return exits.apply(params, stats, seen.student, train=train, key=key)

    return Net(init, apply)


def from_exits(adapted: Mapping[str, jax.Array], what: str = "") -> list[jax.Array]:
    """The logits of all exits, the shallowest first, or their `"_pooled"` features or `"_map"`s."""
    count = sum(name.startswith("exit") and name.removeprefix("exit").isdigit() for name in adapted)
    return [adapted[f"exit{k}{what}"] for k in range(1, count + 1)]
