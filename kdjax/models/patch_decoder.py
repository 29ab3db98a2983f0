"""From the patches that an encoder has seen to the pixels of all."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.models.positions import sincos_positions
from kdjax.models.transformer import TransformerBlock

_normal = nn.initializers.normal(0.02)


class PatchDecoder(nn.Module):
    """Tokens of the seen patches and a token for each hidden one, with positions; blocks, layer norm, linear layer.

    Attributes:
      pixels: numbers of a patch.
      width: channels of a token.
      depth: number of blocks.
      heads: of a block.
      dtype: of the computation.
    """

    pixels: int
    width: int
    depth: int
    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        """The inputs of `patch_decoder` to the tap `"pixels"` `[B, N, pixels]`, float32."""
        embed = nn.Dense(self.width, dtype=self.dtype, kernel_init=_normal, name="embed")
        front, seen = embed(x["front"]), embed(x["seen"])
        batch, *grid = x["places"].shape
        places, count = x["places"].reshape(batch, -1), seen.shape[1]
        hidden = self.param("mask_token", _normal, (1, 1, self.width)).astype(seen.dtype)
        found = jnp.take_along_axis(seen, jnp.minimum(places, count - 1)[:, :, None], 1)
        y = jnp.concatenate([front, jnp.where((places < count)[:, :, None], found, hidden)], 1)
        y = y + sincos_positions((grid[0], grid[1]), self.width, extra=front.shape[1]).astype(y.dtype)
        for number in range(1, self.depth + 1):
            y, _ = TransformerBlock(self.heads, dtype=self.dtype, name=f"block{number}")(y, train)
        y = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name="norm")(y[:, front.shape[1] :])
        return {"pixels": nn.Dense(self.pixels, kernel_init=_normal, name="pixels")(y)}


def patch_decoder(
    patch: int, channels: int = 3, *, width: int = 512, depth: int = 8, heads: int = 16, dtype: Any = jnp.float32
) -> Net:
    """The decoder of a masked autoencoder: a small transformer, which sees a learned token in the place of every hidden patch.

    Positions are those of `sincos_positions`.

    Args:
      patch: side of a patch in pixels.
      channels: of the images.
      width: channels of a token, a multiple of 4 and of `heads`.
      depth: number of blocks; 0 is a linear layer.
      heads: of the attention of a block.
      dtype: of the computation; parameters and the output are float32.

    Returns:
      A Net of `{"front", "seen", "places"}` with the tap `"pixels"` `[B, N, patch patch channels]`, a vector a patch. `"front"`
      `[B, E, C]` are the tokens in front of the patches, `"seen"` `[B, n, C]` those of the patches that were seen, and `"places"`
      `[B, rows, columns]` has for each of the N patches where it stands among the seen ones; numbers from n on are hidden.

    Raises:
      InputError: for an option that is not as said.

    Reference: He, Chen, Xie, Li, Dollár, Girshick, "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022,
    arXiv 2111.06377.

    >>> net = patch_decoder(2, 1, width=8, depth=1, heads=2)
    >>> x = {"front": jnp.zeros((1, 1, 6)), "seen": jnp.zeros((1, 2, 6)), "places": jnp.array([[[1, 2], [0, 3]]])}
    >>> net.apply(*net.init(jax.random.key(0), x), x, train=False)[0]["pixels"].shape
    (1, 4, 4)
    """
    for name, value in (("patch", patch), ("channels", channels), ("heads", heads)):
        check_option(name, value, lambda n: n >= 1, "a whole number of at least 1")
    check_option("depth", depth, lambda n: n >= 0, "a whole number, 0 or more")
    check_option("width", width, lambda w: w >= 1 and w % heads == 0 and w % 4 == 0, f"a multiple of 4 and of heads={heads}")
    return from_linen(PatchDecoder(patch * patch * channels, width, depth, heads, dtype))
