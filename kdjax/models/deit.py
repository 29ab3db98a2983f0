"""DeiT-Tiny, Small and Base: vision transformers with a distillation token."""

from typing import Any

import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.net import Net
from kdjax.models.vit import vit


def deit_tiny(
    classes: int | None = 1000,
    *,
    patch: int = 16,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """DeiT-Tiny with its distillation token: 12 blocks of width 192 with 3 heads; 5,910,800 parameters at 224x224 and 1000 classes.

    A second token behind the class token has a linear layer of its own, which learns from a teacher (`losses.deit_hard`,
    `losses.deit_soft`). Without it the net is `vit_tiny`. The authors train with `drop_path=0.1`.

    Args:
      classes: number of logits of each of the two layers; 0 or None for an encoder without logits.
      patch: side of a patch in pixels.
      positions: as in `vit`, and so are the others.
      pool: what the class token's linear layer reads.
      last_heads: heads of the last block; 0 for those of the others.
      drop_path: chance to leave out a branch in training.
      dtype: of the computation.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Net with the taps of `vit`, among them `"logits_class"`, `"logits_distillation"` and `"logits"`: the mean of both in
      evaluation, those of the class token in training.

    Reference: Touvron, Cord, Douze, Massa, Sablayrolles, Jégou, "Training data-efficient image transformers & distillation
    through attention", ICML 2021, arXiv 2012.12877.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(deit_tiny(), (1, 224, 224, 3))
    5910800
    """
    return vit(
        patch, 192, 12, 3, classes, distillation=True, positions=positions, pool=pool,
        last_heads=last_heads, drop_path=drop_path, dtype=dtype, axis_name=axis_name,
    )  # fmt: skip


def deit_small(
    classes: int | None = 1000,
    *,
    patch: int = 16,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """DeiT-Small: 12 blocks of width 384 with 6 heads; 22,436,432 parameters at 224x224 and 1000 classes. See `deit_tiny`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(deit_small(), (1, 224, 224, 3))
    22436432
    """
    return vit(
        patch, 384, 12, 6, classes, distillation=True, positions=positions, pool=pool,
        last_heads=last_heads, drop_path=drop_path, dtype=dtype, axis_name=axis_name,
    )  # fmt: skip


def deit_base(
    classes: int | None = 1000,
    *,
    patch: int = 16,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """DeiT-Base: 12 blocks of width 768 with 12 heads; 87,338,192 parameters at 224x224 and 1000 classes. See `deit_tiny`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(deit_base(), (1, 224, 224, 3))
    87338192
    """
    return vit(
        patch, 768, 12, 12, classes, distillation=True, positions=positions, pool=pool,
        last_heads=last_heads, drop_path=drop_path, dtype=dtype, axis_name=axis_name,
    )  # fmt: skip
