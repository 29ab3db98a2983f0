"""Transformers that read a text: which token comes next, which one is hidden, or of what class the text is."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_count, check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.transformer import TransformerBlock, dense, norm, normal


class TextTransformer(nn.Module):
    """Embedded tokens with their positions, blocks, layer norm, linear layer.

    Attributes:
      width: channels of a token.
      depth: number of blocks.
      heads: of a block.
      classes: outputs of the linear layer.
      tokens: how many there are.
      causal: whether a token sees none behind it.
      pooled: whether the linear layer sees the mean of all tokens, not each of them.
      dtype: of the computation.
      axis_name: mapped axis that holds the batch, or None.
    """

    width: int
    depth: int
    heads: int
    classes: int
    tokens: int
    causal: bool = False
    pooled: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Token numbers `[B, T]` to the taps."""
        x = nn.Embed(self.tokens, self.width, dtype=self.dtype, embedding_init=normal, name="embed")(tokens.astype(jnp.int32))
        x = x + self.param("positions", normal, (1, *x.shape[1:])).astype(x.dtype)
        taps = {}
        for number in range(1, self.depth + 1):
            block = TransformerBlock(
                self.heads, causal=self.causal, dtype=self.dtype, axis_name=self.axis_name, name=f"block{number}"
            )
            x, _ = block(x, train)
            taps[f"block{number}"] = x
        x = taps["hidden"] = norm(jnp.float32, "norm")(x)
        if self.pooled:
            x = taps["pooled"] = jnp.mean(x, 1)
        return taps | {"logits": dense(self.classes, jnp.float32, "classifier", use_bias=False)(x)}


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
    _check(width, depth=depth, heads=heads, classes=classes)
    return from_linen(TextTransformer(width, depth, heads, classes, tokens=classes, causal=True, dtype=dtype, axis_name=axis_name))


def bidirectional_transformer(
    width: int,
    depth: int,
    heads: int,
    classes: int = 256,
    *,
    tokens: int = 256,
    pooled: bool = True,
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """A classifier of texts, or what is trained before it: blocks as those of `causal_transformer`, whose tokens see all others.

    With `pooled=False` and as many classes as tokens it tells hidden tokens, as `augment.masked_tokens` hides them; all its
    parameters but those of the linear layer are as in the classifier that starts from it.

    Args:
      width: channels C of a token, a multiple of `heads`.
      depth: number of blocks.
      heads: of the attention of a block.
      classes: of texts, or of each token.
      tokens: how many there are, 256 for bytes; the number behind the last one is the mask.
      pooled: whether logits are those of the mean of all tokens behind the last norm; False: of each.
      dtype: of the computation; parameters, and all taps behind the last norm, are float32.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Net of token numbers `[B, T]` with the taps `"block1"`, ... `[B, T, C]`, `"hidden"` `[B, T, C]` behind the last norm,
      with `pooled` their mean `"pooled"` `[B, C]`, and `"logits"` `[B, classes]` or `[B, T, classes]`.

    Raises:
      InputError: for an option that is not as said.

    Reference: Devlin, Chang, Lee and Toutanova, BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding,
    NAACL 2019 (arXiv 1810.04805), in a smaller size, with norms in front and the mean of tokens in place of a class token.

    >>> net = bidirectional_transformer(32, 2, 2, 6)
    >>> net.apply(*net.init(jax.random.key(0), jnp.zeros((1, 8))), jnp.zeros((1, 8)), train=False)[0]["logits"].shape
    (1, 6)
    """
    _check(width, depth=depth, heads=heads, classes=classes, tokens=tokens)
    return from_linen(
        TextTransformer(width, depth, heads, classes, tokens=tokens + 1, pooled=pooled, dtype=dtype, axis_name=axis_name)
    )


def _check(width: int, **counts: int) -> None:
    check_count(**counts)
    check_option("width", width, lambda w: w >= 1 and w % counts["heads"] == 0, f"a multiple of heads={counts['heads']}")
