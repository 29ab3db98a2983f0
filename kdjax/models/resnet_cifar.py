"""The residual nets of CIFAR, as the distillation benchmarks build them."""

from typing import Any

import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.drop_path import check_drop_path
from kdjax.models.heads import check_classes
from kdjax.models.resnet import ResNet

_NARROW = (16, 16, 32, 64)
_WIDE = (32, 64, 128, 256)


def resnet8(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 8; 83,892 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet8(), (1, 32, 32, 3))
    83892
    """
    return _cifar(8, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet14(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 14; 181,108 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet14(), (1, 32, 32, 3))
    181108
    """
    return _cifar(14, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet20(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 20 for small images; 278,324 parameters at 100 classes.

    A net of depth 6 n + 2 has a 3x3 stem of 16 channels and three stages of n basic blocks with 16, 32 and 64 channels;
    a shortcut that changes shape is a 1x1 convolution with batch norm.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      drop_path: chance of every block to be left out by a row in training (stochastic depth); `apply` then needs a key.
      drop_path_exact: whether just as many rows leave out a block, which is then computed for the others alone, see `drop_path`.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"`, `"stage1"` to `"stage3"`, `"stage1_preact"` to
      `"stage3_preact"`, `"stage1_block1"` and so on (the output of each block), `"pooled"` `[B, 64]`, `"logits"`.

    Raises:
      InputError: for a negative number of classes, or a chance that is none.

    Reference: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699, after
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385 (whose shortcuts have no
    parameters).

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet20(), (1, 32, 32, 3))
    278324
    """
    return _cifar(20, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet32(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 32; 472,756 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet32(), (1, 32, 32, 3))
    472756
    """
    return _cifar(32, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet44(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 44; 667,188 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet44(), (1, 32, 32, 3))
    667188
    """
    return _cifar(44, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet56(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 56; 861,620 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet56(), (1, 32, 32, 3))
    861620
    """
    return _cifar(56, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet110(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 110; 1,736,564 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet110(), (1, 32, 32, 3))
    1736564
    """
    return _cifar(110, _NARROW, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet8x4(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 8, stem 32, stages 64, 128, 256; 1,233,540 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet8x4(), (1, 32, 32, 3))
    1233540
    """
    return _cifar(8, _WIDE, classes, drop_path, drop_path_exact, dtype, axis_name)


def resnet32x4(
    classes: int | None = 100,
    *,
    drop_path: float = 0.0,
    drop_path_exact: bool = False,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """The residual net of depth 32, stem 32, stages 64, 128, 256; 7,433,860 parameters at 100 classes. See `resnet20`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(resnet32x4(), (1, 32, 32, 3))
    7433860
    """
    return _cifar(32, _WIDE, classes, drop_path, drop_path_exact, dtype, axis_name)


def _cifar(depth, widths, classes, rate, exact, dtype, axis_name) -> Net:
    check_classes(classes)
    check_drop_path(rate)
    sizes = {"depths": ((depth - 2) // 6,) * 3, "widths": widths[1:], "stem_width": widths[0], "classes": classes}
    return from_linen(ResNet(**sizes, drop_path=rate, drop_path_exact=exact, dtype=dtype, axis_name=axis_name))
