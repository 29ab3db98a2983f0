"""Vision transformers of any size, and ViT-Tiny, Small and Base."""

from typing import Any

import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.drop_path import check_drop_path
from kdjax.models.heads import check_classes
from kdjax.models.positions import sincos_positions
from kdjax.models.transformer import VisionTransformer


def vit(
    patch: int,
    width: int,
    depth: int,
    heads: int,
    classes: int | None = 10,
    *,
    distillation: bool = False,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    drop_path_rule: str = "linear",
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """A vision transformer of any size: pre-norm blocks with exact GELU, perceptrons four times as wide as a token.

    The table of positions is as large as the images at `init` make it; for images of another side see `resize_positions`.
    Matrices, tokens and positions start normal with deviation 0.02, biases at 0, the patch embedding uniform in
    +-1/sqrt(fan in).

    Args:
      patch: side of a patch in pixels, a divisor of both sides of the images.
      width: channels C of a token, a multiple of `heads`.
      depth: number of blocks.
      heads: of the attention of a block.
      classes: number of logits; 0 or None for an encoder without logits.
      distillation: whether there is DeiT's distillation token too, with its own linear layer.
      positions: "learned", or "sincos" for the fixed ones of MAE (no parameters, any image).
      pool: what `"pooled"` and the logits are read from: "cls", the class token, or "mean", the mean of the patches.
      last_heads: heads of the last block where they are others (a divisor of `width`); 0 for the same.
      drop_path: chance to leave out a branch for a row in training (stochastic depth); `apply` then needs a key.
      drop_path_rule: "linear", where that is the chance of the last block, to which it rises from 0 in the first; or "constant".
      drop_path_exact: whether just as many rows leave out a branch, which is then computed for the others alone, see `drop_path`.
      dtype: of the computation; parameters, softmax, statistics of norms and all taps behind the last norm are float32.
      axis_name: mapped axis that holds the batch, or None; rows draw alike with it and without.

    Returns:
      A Net of images `[B, H, W, channels]` with E extra tokens in front of P = H W / patch^2 patches (row by row), N = E + P; or of
      `{"image": images, "kept": numbers [B, P] of the patches to see}`, the others hidden, as a masked autoencoder learns. It has
      the taps `"tokens"` `[B, N, C]` (what enters the first block), `"block1"`, ... `[B, N, C]` (what leaves a block),
      `"block1_query"`, `"block1_key"`, `"block1_value"`, ... `[B, heads, N, C / heads]`; behind the last norm `"cls"` `[B, C]`,
      `"patches"` `[B, P, C]`, `"pooled"` `[B, C]`, `"logits"`. With `distillation` also `"distillation"` `[B, C]`,
      `"logits_class"` and `"logits_distillation"`; `"logits"` is then the mean of both in evaluation (as in the authors' code; the
      paper adds the softmaxes) and that of the class token in training.

    Raises:
      InputError: for an option that is not as said, and at `init` and `apply` for images that patches do not fill.

    Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv 2010.11929. Touvron et al., "Training
    data-efficient image transformers & distillation through attention", ICML 2021, arXiv 2012.12877.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vit(4, 64, 4, 4), (1, 28, 28, 1))
    205066
    """
    for name, value in (("patch", patch), ("depth", depth), ("heads", heads)):
        check_option(name, value, lambda n: n >= 1, "a whole number of at least 1")
    check_option("width", width, lambda w: w >= 1 and w % heads == 0, f"a multiple of heads={heads}")
    check_classes(classes)
    check_option("positions", positions, lambda p: p in ("learned", "sincos"), '"learned" or "sincos"')
    check_option("pool", pool, lambda p: p in ("cls", "mean"), '"cls" or "mean"')
    check_option("last_heads", last_heads, lambda n: n == 0 or (n > 0 and width % n == 0), f"a divisor of width={width}, or 0")
    check_drop_path(drop_path)
    check_option("drop_path_rule", drop_path_rule, lambda r: r in ("linear", "constant"), '"linear" or "constant"')
    if positions == "sincos":
        sincos_positions((1, 1), width)  # refuses a width that it cannot fill
    return from_linen(
        VisionTransformer(
            patch,
            width,
            depth,
            heads,
            classes,
            distillation=distillation,
            positions=positions,
            pool=pool,
            last_heads=last_heads,
            drop_path=drop_path,
            drop_path_rule=drop_path_rule,
            drop_path_exact=drop_path_exact,
            dtype=dtype,
            axis_name=axis_name,
        )
    )


def vit_tiny(
    classes: int | None = 1000,
    *,
    patch: int = 16,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    drop_path_rule: str = "linear",
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """ViT-Tiny: 12 blocks of width 192 with 3 heads; 5,717,416 parameters at 224x224 and 1000 classes. See `vit`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vit_tiny(), (1, 224, 224, 3))
    5717416
    """
    return vit(
        patch, 192, 12, 3, classes, positions=positions, pool=pool,
        last_heads=last_heads, drop_path=drop_path, drop_path_rule=drop_path_rule, drop_path_exact=drop_path_exact,
        dtype=dtype, axis_name=axis_name,
    )  # fmt: skip


def vit_small(
    classes: int | None = 1000,
    *,
    patch: int = 16,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    drop_path_rule: str = "linear",
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """ViT-Small: 12 blocks of width 384 with 6 heads; 22,050,664 parameters at 224x224 and 1000 classes. See `vit`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vit_small(), (1, 224, 224, 3))
    22050664
    """
    return vit(
        patch, 384, 12, 6, classes, positions=positions, pool=pool,
        last_heads=last_heads, drop_path=drop_path, drop_path_rule=drop_path_rule, drop_path_exact=drop_path_exact,
        dtype=dtype, axis_name=axis_name,
    )  # fmt: skip


def vit_base(
    classes: int | None = 1000,
    *,
    patch: int = 16,
    positions: str = "learned",
    pool: str = "cls",
    last_heads: int = 0,
    drop_path: float = 0.0,
    drop_path_rule: str = "linear",
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """ViT-Base: 12 blocks of width 768 with 12 heads; 86,567,656 parameters at 224x224 and 1000 classes. See `vit`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vit_base(), (1, 224, 224, 3))
    86567656
    """
    return vit(
        patch, 768, 12, 12, classes, positions=positions, pool=pool,
        last_heads=last_heads, drop_path=drop_path, drop_path_rule=drop_path_rule, drop_path_exact=drop_path_exact,
        dtype=dtype, axis_name=axis_name,
    )  # fmt: skip
