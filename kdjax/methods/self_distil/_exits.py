"""Classifiers behind the stages of the network, which learn beside it and are not shipped."""

from collections.abc import Mapping

import jax


def from_exits(taps: Mapping[str, jax.Array], what: str = "") -> list[jax.Array]:
    """The logits of all exits (`models.exits`), the shallowest first, or their `"_pooled"` features or `"_map"`s."""
    count = sum(name.startswith("exit") and name.removeprefix("exit").isdigit() for name in taps)
    return [taps[f"exit{k}{what}"] for k in range(1, count + 1)]
