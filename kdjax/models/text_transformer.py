"""Transformers that read a text and tell, at every token, which one comes next."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.transformer import TransformerBlock, dense, norm, normal


class CausalTransformer(nn.Module):
    """Embedded tokens with their positions, blocks that see no later token, layer norm, linear layer.

    Attributes:
      width: channels of a token.
      depth: number of blocks.
      heads: of a block.
      classes: how many tokens there are.
      dtype: of the computation.
      axis_name: mapped axis that holds the batch, or None.
    """

    width: int
    depth: int
    heads: int
    classes: int = 256
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Token numbers `[B, T]` to the taps."""
        x = nn.Embed(self.classes, self.width, dtype=self.dtype, embedding_init=normal, name="embed")(tokens.astype(jnp.int32))
        x = x + self.param("positions", normal, (1, *x.shape[1:])).astype(x.dtype)
        taps = {}
        for number in range(1, self.depth + 1):
            block = TransformerBlock(self.heads, causal=True, dtype=self.dtype, axis_name=self.axis_name, name=f"block{number}")
            x, _ = block(x, train)
            taps[f"block{number}"] = x
        taps["hidden"] = norm(jnp.float32, "norm")(x)
        return taps | {"logits": dense(self.classes, jnp.float32, "classifier", use_bias=False)(taps["hidden"])}


def causal_transformer(
    width: int, depth: int, heads: int, classes: int = 256, *, dtype: Any = jnp.float32, axis_name: AxisName = None
) -> Net:
    """A language model of any size: pre-norm blocks as those of `vit`, in which a token sees itself and those in front of it.

    All texts are as long as those at `init`, by which the table of positions is made. Matrices start normal with deviation 0.02,
    biases at 0; the linear layer has none, so that its kernel is the head of `losses.in_chunks`.

    Args:
      width: channels C of a token, a multiple of `heads`.
      depth: number of blocks.
      heads: of the attention of a block.
      classes: how many tokens there are; 256 for bytes.
      dtype: of the computation; parameters, and all taps behind the last norm, are float32.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Net of token numbers `[B, T]` with the taps `"block1"`, ... `[B, T, C]`, `"hidden"` `[B, T, C]` behind the last norm and
      `"logits"` `[B, T, classes]`, at each token those of the next one.

    Raises:
      InputError: for an option that is not as said.

    Reference: Radford, Wu, Child, Luan, Amodei, Sutskever, "Language Models are Unsupervised Multitask Learners", 2019, in a
    smaller size and with exact GELU.

    >>> net = causal_transformer(32, 2, 2)
    >>> net.apply(*net.init(jax.random.key(0), jnp.zeros((1, 8))), jnp.zeros((1, 8)), train=False)[0]["logits"].shape
    (1, 8, 256)
    """
    for name, value in (("depth", depth), ("heads", heads), ("classes", classes)):
        check_option(name, value, lambda n: n >= 1, "a whole number of at least 1")
    check_option("width", width, lambda w: w >= 1 and w % heads == 0, f"a multiple of heads={heads}")
    return from_linen(CausalTransformer(width, depth, heads, classes, dtype=dtype, axis_name=axis_name))
