"""The pre-activation ResNet-18 of self-distillation benchmarks on small images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.conv import conv2d
from kdjax.models.heads import check_classes, pooled_and_logits
from kdjax.models.norm import batch_norm
from kdjax.models.wide_resnet import PreactBlock


class PreactResNet(nn.Module):
    """3x3 convolution, batch norm, ReLU; stages of two pre-activation blocks, 64 to 512 channels; mean, linear layer.

    Attributes:
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    classes: int | None = 100
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps; no norm follows the last block."""
        options = {"dtype": self.dtype, "axis_name": self.axis_name}
        x = conv2d(64, 3, dtype=self.dtype, name="conv")(x)
        x = nn.relu(batch_norm(train, **options, name="bn")(x))
        taps = {"stem": x}
        for stage, width in enumerate((64, 128, 256, 512), 1):
            for number in (1, 2):
                name, stride = f"stage{stage}_block{number}", 2 if stage > 1 and number == 1 else 1
                x, preact = PreactBlock(width, stride=stride, **options, name=name)(x, train)
                taps[name] = x
                if stage > 1 and number == 1:
                    taps[f"stage{stage - 1}_preact"] = preact
            taps[f"stage{stage}"] = x
        return taps | pooled_and_logits(x, self.classes)


def preact_resnet18(classes: int | None = 100, *, dtype: Any = jnp.float32, axis_name: AxisName = None) -> Net:
    """ResNet-18 of pre-activation blocks for small images, no norm behind the last one; 11,217,444 parameters at 100 classes.

    Args:
      classes: number of logits; 0 or None for an encoder without logits.
      dtype: of the computation; parameters, `"pooled"` and `"logits"` are float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of images `[B, H, W, C]` with taps `"stem"`; `"stage1"` to `"stage4"`, the sums that leave the stages; `"stage1_preact"`
      to `"stage3_preact"`, the same after the batch norm that comes next; `"stage1_block1"` and so on; `"pooled"` `[B, 512]`, the
      mean of the last sum as it is; `"logits"`.

    Raises:
      InputError: for a negative number of classes.

    Reference: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv 1603.05027, as
    winycg/Self-KD-Lib has it, by which the table of Yang et al., ECCV 2022 (arXiv 2208.05768) was made.

    >>> from kdjax.models.size import parameter_count
    >>> parameter_count(preact_resnet18(), (1, 32, 32, 3))
    11217444
    """
    check_classes(classes)
    return from_linen(PreactResNet(classes, dtype=dtype, axis_name=axis_name))
