"""VGG for small images: plain stages of 3x3 convolutions with batch norm."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.conv_net import halve
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm

_WIDTHS = {"stem": 64, "stage1": 128, "stage2": 256, "stage3": 512, "stage4": 512}


class VGG(nn.Module):
    """Five stages of 3x3 convolutions with bias, batch norm and ReLU; 2x2 max-pool between them; mean, linear layer.

    The first stage has the name of a stem. Images of less than 64 pixels are not pooled in front of the last stage.

    Attributes:
      depths: convolutions of the stem and of each of the four stages.
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    depths: tuple[int, int, int, int, int]
    classes: int | None = 100
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps."""
        taps, pools = {}, {"stage1", "stage2", "stage3"} | ({"stage4"} if x.shape[1] >= 64 else set())
        for (stage, width), depth in zip(_WIDTHS.items(), self.depths, strict=True):
            x = preact = halve(x) if stage in pools else x
            for number in range(1, depth + 1):
                x = conv2d(width, 3, bias=True, dtype=self.dtype, name=f"{stage}_conv{number}")(x)
                preact = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"{stage}_bn{number}")(x)
                x = nn.relu(preact)
                if stage != "stem":
                    taps[f"{stage}_block{number}"] = x
            taps[stage] = x
            if stage != "stem":
                taps[f"{stage}_preact"] = preact
        return taps | pooled_and_logits(x, self.classes, init=nn.initializers.normal(0.01))


def vgg8(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """VGG with 5 convolutions, one a stage; 3,965,028 parameters at 100 classes. See `vgg13`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vgg8(), (1, 32, 32, 3))
    3965028
    """
    return _vgg((1, 1, 1, 1, 1), classes, dtype, axis_name)


def vgg11(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """VGG with 8 convolutions; 9,277,284 parameters at 100 classes. See `vgg13`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vgg11(), (1, 32, 32, 3))
    9277284
    """
    return _vgg((1, 1, 2, 2, 2), classes, dtype, axis_name)


def vgg13(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """VGG with 10 convolutions, two a stage; 9,462,180 parameters at 100 classes.

    The form for small images of the distillation benchmarks: widths 64, 128, 256, 512, 512, a mean and one linear layer in place
    of the three of the paper, whose layers the number in the name counts.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"` (the end of the 64 channels), `"stage1"` to `"stage4"` (after ReLU, before
      the pool), `"stage1_preact"` to `"stage4_preact"` (before ReLU), `"stage1_block1"` and so on (each convolution, after ReLU),
      `"pooled"` `[B, 512]`, `"logits"`. Of 32x32 images the maps are 32, 16, 8, 4 and 4 wide.

    Raises:
      InputError: for a negative number of classes.

    Reference: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
    arXiv 1409.1556; the form of Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv 1910.10699.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vgg13(), (1, 32, 32, 3))
    9462180
    """
    return _vgg((2, 2, 2, 2, 2), classes, dtype, axis_name)


def vgg16(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """VGG with 13 convolutions; 14,774,436 parameters at 100 classes. See `vgg13`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vgg16(), (1, 32, 32, 3))
    14774436
    """
    return _vgg((2, 2, 3, 3, 3), classes, dtype, axis_name)


def vgg19(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """VGG with 16 convolutions; 20,086,692 parameters at 100 classes. See `vgg13`.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(vgg19(), (1, 32, 32, 3))
    20086692
    """
    return _vgg((2, 2, 4, 4, 4), classes, dtype, axis_name)


def _vgg(depths: tuple[int, int, int, int, int], classes: int | None, dtype: Any, axis_name: AxisName) -> Net:
    check_classes(classes)
    return from_linen(VGG(depths, classes, dtype=dtype, axis_name=axis_name))
