"""Weights that are not quite those of a net: another head, another side of images, another stem."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.core.tree_paths import by_path
from kdjax.models.pretrained.weights import nested

HEADS = ("classifier", "classifier_distillation")  # what an encoder leaves out
_STEMS = {7: "imagenet", 3: "cifar"}


class Fitted(NamedTuple):
    """Weights of a file as a net has them.

    Attributes:
      params: nested dicts of NumPy arrays; without the arrays of `fresh`.
      stats: likewise.
      told: one line on what was taken of the file, and what was left over; empty where it was all.
      fresh: paths of the head's arrays that the file has not, or in another shape.
    """

    params: Any
    stats: Any
    told: str = ""
    fresh: tuple[str, ...] = ()


def is_head(path: str) -> bool:
    """Whether an array is one of the linear layers at the end of a net.

    >>> is_head("params/classifier/kernel"), is_head("params/conv/kernel")
    (True, False)
    """
    return path.split("/")[1:2] in [[name] for name in HEADS]


def resized(filled: Mapping[str, np.ndarray], side: tuple[int, int]) -> dict[str, np.ndarray]:
    """The arrays of a transformer by path, its positions for images of another side."""
    from kdjax.models.positions import resize_positions

    params = jax.tree.map(np.asarray, resize_positions(nested(filled)["params"], side))
    return {**filled, **{f"params/{path}": np.asarray(x) for path, x in by_path(params).items()}}


def advice(name: str, path: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Which option lets an array of another shape fit; empty where none does.

    Args:
      name: of the net.
      path: of the array.
      found: its shape in the file, in kdjax's order of axes.
      wanted: its shape in the net.

    >>> advice("resnet18", "params/conv/kernel", (7, 7, 3, 64), (3, 3, 3, 64))
    '; net.stem=imagenet has such a one'
    """
    if path == "params/positions" and len(found) == 3 and found[::2] == wanted[::2]:
        if abs(more := found[1] - wanted[1]) > 1:
            return "; resize=true fits it to these images"
        # No two grids of patches differ by one: it is the distillation token.
        return (
            "; a net with a distillation token has such a one" if more > 0 else "; a net without distillation token has such a one"
        )
    stem = name in ("resnet18", "resnet34", "resnet50") and path == "params/conv/kernel" and len(found) == 4
    if stem and found[0] != wanted[0] and found[0] in _STEMS:
        return f"; net.stem={_STEMS[found[0]]} has such a one"
    return ""


def leftover(names: list[str]) -> str:
    """What is told of arrays that nobody took.

    >>> leftover(["queue", "criterion.weight"])
    'left over: queue, criterion.weight'
    """
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"left over: {', '.join(name[:80] for name in names[:4])}{more}" if names else ""
