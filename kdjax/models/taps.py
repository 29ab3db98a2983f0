"""What the nets here agree on: where their stages end, and which map is averaged in front of the classifier."""

from collections.abc import Iterable, Mapping

import flax.linen as nn
import jax

from kdjax.core.check import InputError


def stage_names(taps: Iterable[str]) -> list[str]:
    """The taps of the ends of the stages, in order; none in a transformer.

    >>> stage_names(["stem", "stage10", "stage2", "stage2_preact", "stage2_block1", "logits"])
    ['stage2', 'stage10']
    """
    found = [name for name in taps if name.startswith("stage") and name.removeprefix("stage").isdigit()]
    return sorted(found, key=lambda name: int(name.removeprefix("stage")))


def block_names(taps: Iterable[str]) -> list[str]:
    """The taps of what leaves the blocks of a transformer, in order; none in a net of stages.

    >>> block_names(["tokens", "block10", "block2", "block2_query", "stage1_block1", "cls"])
    ['block2', 'block10']
    """
    found = [name for name in taps if name.startswith("block") and name.removeprefix("block").isdigit()]
    return sorted(found, key=lambda name: int(name.removeprefix("block")))


def last_stage(taps: Mapping[str, jax.Array]) -> str:
    """The tap of the end of the last stage.

    Raises:
      InputError: where there are no stages.
    """
    if not (found := stage_names(taps)):
        shown = ", ".join(sorted(name for name in taps if not name.startswith("norm/")))
        raise InputError(f"a net with stages is needed: expected the taps 'stage1', ..., found {shown}")
    return found[-1]


def last_map(taps: Mapping[str, jax.Array]) -> jax.Array:
    """The map `[B, H, W, C]` whose mean over positions is the tap `"pooled"`.

    It is the tap `"head"` where there is one, else the end of the last stage after batch norm and ReLU.

    Raises:
      InputError: where there is no such map.
    """
    if "head" in taps:
        return taps["head"]
    name = f"{last_stage(taps)}_preact"
    if name not in taps:
        shown = ", ".join(sorted(taps))
        raise InputError(f"the map in front of the mean is needed: expected the tap 'head' or {name!r}, found {shown}")
    return nn.relu(taps[name])
