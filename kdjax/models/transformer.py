"""The modules behind all vision transformers."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError
from kdjax.models.conv import convolution, fan_in_uniform
from kdjax.models.drop_path import drop_path
from kdjax.models.gelu import gelu
from kdjax.models.positions import EXTRA, grid_of, sincos_positions

normal = nn.initializers.normal(0.02)  # the authors truncate it at 100 deviations, where nothing is cut


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and beside a shortcut.

    Attributes:
      heads: of the attention.
      drop_path: chance that a row leaves out a branch in training; the others' branches are divided by its complement.
      drop_path_exact: whether just as many rows leave it out, see `drop_path`; their queries, keys and values are then 0.
      causal: whether a token sees only itself and those in front of it.
      dtype: of the computation; the softmax and the statistics of the norms are float32.
      axis_name: mapped axis that holds the batch, or None.
    """

    heads: int
    drop_path: float = 0.0
    drop_path_exact: bool = False
    causal: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Tokens `[B, N, C]` to tokens, and the queries, keys and values `[B, heads, N, C / heads]`."""
        options = {"exact": self.drop_path_exact, "train": train, "axis_name": self.axis_name}
        tokens, width = x.shape[1:]
        first = drop_path(self, len(x), self.drop_path, **options)
        qkv = dense(3 * width, self.dtype, "qkv")(norm(self.dtype, "norm1")(first.take(x)))
        # Columns are [q | k | v], and each is one head after the other.
        qkv = qkv.reshape(-1, tokens, 3, self.heads, width // self.heads)
        query, key, value = (qkv[:, :, i] for i in range(3))
        y = jax.nn.dot_product_attention(query, key, value, is_causal=self.causal, implementation="xla")
        x = x + first.put(dense(width, self.dtype, "proj")(y.reshape(-1, tokens, width)))
        second = drop_path(self, len(x), self.drop_path, **options)
        y = dense(4 * width, self.dtype, "fc1")(norm(self.dtype, "norm2")(second.take(x)))
        x = x + second.put(dense(width, self.dtype, "fc2")(gelu(y)))
        return x, {k: first.back(a.swapaxes(1, 2)) for k, a in (("query", query), ("key", key), ("value", value))}


class VisionTransformer(nn.Module):
    """Patches as tokens behind a class token, blocks, layer norm, linear layer.

    Attributes:
      patch: side of a patch, in pixels.
      width: channels of a token.
      depth: number of blocks.
      heads: of a block.
      classes: outputs of the linear layer; 0 or None for an encoder without logits.
      distillation: whether a second token with a linear layer of its own stands behind the class token.
      positions: "learned" or "sincos".
      pool: "cls" or "mean".
      last_heads: heads of the last block; 0 for those of the others.
      drop_path: chance of a block to leave out a branch; of the last one where it rises.
      drop_path_rule: "linear", rising from 0 in the first block, or "constant".
      drop_path_exact: as in `TransformerBlock`.
      dtype: of the computation.
      axis_name: mapped axis that holds the batch, or None.
    """

    patch: int
    width: int
    depth: int
    heads: int
    classes: int | None = 1000
    distillation: bool = False
    positions: str = "learned"
    pool: str = "cls"
    last_heads: int = 0
    drop_path: float = 0.0
    drop_path_rule: str = "linear"
    drop_path_exact: bool = False
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array | Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        """Images `[B, H, W, C]` to the taps; or an `"image"` of which the patches of the numbers `"kept"` `[B, P]` are seen."""
        extra = EXTRA[: 1 + self.distillation]
        if isinstance(x, Mapping):
            whole = self._tokens(x["image"], extra)
            seen = jnp.take_along_axis(whole[:, len(extra) :], x["kept"][:, :, None], 1)
            x = jnp.concatenate([whole[:, : len(extra)], seen], 1)
        else:
            x = self._tokens(x, extra)
        taps = {"tokens": x}
        for number in range(1, self.depth + 1):
            share = (number - 1) / max(self.depth - 1, 1) if self.drop_path_rule == "linear" else 1.0
            x, heads = TransformerBlock(
                self.last_heads if self.last_heads and number == self.depth else self.heads,
                drop_path=self.drop_path * share,
                drop_path_exact=self.drop_path_exact,
                dtype=self.dtype,
                axis_name=self.axis_name,
                name=f"block{number}",
            )(x, train)
            taps |= {f"block{number}": x, **{f"block{number}_{what}": a for what, a in heads.items()}}
        x = norm(jnp.float32, "norm")(x)
        taps |= {"cls": x[:, 0], "patches": x[:, len(extra) :]}
        taps["pooled"] = taps["cls"] if self.pool == "cls" else jnp.mean(taps["patches"], 1)
        if self.distillation:
            taps["distillation"] = x[:, 1]
        if not self.classes:
            return taps
        logits = dense(self.classes, jnp.float32, "classifier")(taps["pooled"])
        if not self.distillation:
            return taps | {"logits": logits}
        second = dense(self.classes, jnp.float32, "classifier_distillation")(taps["distillation"])
        both = {"logits_class": logits, "logits_distillation": second}
        return taps | both | {"logits": logits if train else (logits + second) / 2}

    def _tokens(self, x: jax.Array, extra: tuple[str, ...]) -> jax.Array:
        """The embedded patches, row by row, behind the extra tokens; all with their positions.

        The bias starts at 0, where PyTorch's is uniform in +-1/sqrt(fan in): the trained positions add as much to each patch.
        """
        grid = grid_of(x.shape[1:3], self.patch)
        x = nn.Conv(
            self.width,
            (self.patch, self.patch),
            strides=(self.patch, self.patch),
            padding="VALID",
            kernel_init=fan_in_uniform,
            conv_general_dilated=convolution,
            dtype=self.dtype,
            name="embed",
        )(x)
        x = x.reshape(x.shape[0], -1, self.width)
        front = [self.param(name, normal, (1, 1, self.width)).astype(x.dtype) for name in extra]
        x = jnp.concatenate([*(jnp.broadcast_to(token, (x.shape[0], 1, self.width)) for token in front), x], 1)
        if self.positions == "sincos":
            return x + sincos_positions(grid, self.width, extra=len(extra)).astype(x.dtype)
        shape = (1, *x.shape[1:])
        if self.has_variable("params", "positions") and (found := self.get_variable("params", "positions").shape) != shape:
            raise InputError(f"positions are {found}, these images need {shape}: resize_positions makes them")
        return x + self.param("positions", normal, shape).astype(x.dtype)


def dense(features: int, dtype: Any, name: str, *, use_bias: bool = True) -> nn.Dense:
    """A linear layer whose matrix starts normal."""
    return nn.Dense(features, dtype=dtype, kernel_init=normal, use_bias=use_bias, name=name)


def norm(dtype: Any, name: str) -> nn.LayerNorm:
    """A layer norm with the epsilon of these nets."""
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, use_fast_variance=False, name=name)
