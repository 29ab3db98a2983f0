"""What follows an encoder: the pooled linear classifier, and the small MLP of siamese methods."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.net import Net, from_linen
from kdjax.models.conv import fan_in_uniform
from kdjax.models.norm import batch_norm


def check_classes(classes: int | None) -> None:
    """Refuses a negative number of classes.

    >>> check_classes(None)
    """
    check_option("classes", classes, lambda n: n is None or n >= 0, "a number of classes, or 0 or None for an encoder")


def pooled_and_logits(
    x: jax.Array, classes: int | None, *, init: Any = fan_in_uniform, bias_init: Any = nn.initializers.zeros
) -> dict[str, jax.Array]:
    """The taps `"pooled"` `[B, C]` and `"logits"` `[B, classes]`, both float32, of a map `[B, H, W, C]`.

    To be called inside a compact Linen module, to which it adds the layer `"classifier"` (none where `classes` is 0 or
    None). The kernel starts as `init` draws it, by default uniform in +-1/sqrt(C), the bias as `bias_init` does, by default at 0.

    >>> pooled_and_logits(jnp.ones((2, 3, 3, 4)), None)["pooled"].shape
    (2, 4)
    """
    pooled = jnp.mean(x, (1, 2), dtype=jnp.float32)
    if not classes:
        return {"pooled": pooled}
    return {"pooled": pooled, "logits": nn.Dense(classes, kernel_init=init, bias_init=bias_init, name="classifier")(pooled)}


class MLPHead(nn.Module):
    """Linear layer with bias, batch norm, ReLU, linear layer without bias.

    Attributes:
      hidden: width of the hidden layer.
      out: width of the output.
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    hidden: int
    out: int
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Vectors `[B, D]` to the tap `"embedding"` `[B, out]`, float32."""
        x = nn.Dense(self.hidden, dtype=self.dtype, name="linear1")(x)
        x = nn.relu(batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name="bn")(x))
        x = nn.Dense(self.out, use_bias=False, dtype=self.dtype, name="linear2")(x)
        return {"embedding": x.astype(jnp.float32)}


def mlp_head(hidden: int, out: int, *, dtype: Any = jnp.float32, axis_name: str | None = None) -> Net:
    """The projector and the predictor of BYOL: linear with bias, batch norm, ReLU, linear without bias.

    Args:
      hidden: width of the hidden layer (4096 in the paper).
      out: width of the output (256 in the paper).
      dtype: of the computation; the output is float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of vectors `[B, D]` with the tap `"embedding"` `[B, out]`.

    Reference: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, arXiv 2006.07733.

    >>> net = mlp_head(8, 4)
    >>> params, stats = net.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> net.apply(params, stats, jnp.ones((2, 3)), train=False)[0]["embedding"].shape
    (2, 4)
    """
    return from_linen(MLPHead(hidden, out, dtype=dtype, axis_name=axis_name))


class LinearHead(nn.Module):
    """One linear layer on vectors: the tap `"logits"`.

    Attributes:
      classes: number of logits.
    """

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Vectors `[B, D]` to `{"logits": [B, classes]}`."""
        return {"logits": nn.Dense(self.classes, kernel_init=fan_in_uniform, name="classifier")(x)}


def linear_head(classes: int) -> Net:
    """A linear classifier on vectors `[B, D]`, such as the online probe of a self-supervised encoder.

    Args:
      classes: number of logits.

    Returns:
      A Net with the tap `"logits"` `[B, classes]`.

    >>> net = linear_head(3)
    >>> params, stats = net.init(jax.random.key(0), jnp.ones((2, 8)))
    >>> net.apply(params, stats, jnp.ones((2, 8)), train=False)[0]["logits"].shape
    (2, 3)
    """
    return from_linen(LinearHead(classes))
