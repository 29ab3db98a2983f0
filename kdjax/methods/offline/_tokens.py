"""Places of an image in either kind of net: the tokens of a transformer, the positions of a map."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.core import InputError
from kdjax.methods.recipes import Outputs, tap
from kdjax.models import block_names, stage_names


class Places(NamedTuple):
    """One layer's view of an image.

    Attributes:
      x: `[B, E + P, C]`.
      extra: E, how many tokens stand in front (class token, distillation token); 0 for a map.
      grid: rows and columns of the others, P in all, row by row.
    """

    x: jax.Array
    extra: int
    grid: tuple[int, int]

    def pooled(self) -> jax.Array:
        """The class token `[B, C]`; without one, the mean over the places."""
        return self.x[:, 0] if self.extra else jnp.mean(self.x, 1)

    def map(self) -> jax.Array:
        """`[B, rows, columns, C]`, without the tokens in front."""
        return self.x[:, self.extra :].reshape(-1, *self.grid, self.x.shape[-1])


def places(side: str, seen: Outputs, name: str) -> Places:
    """The tap of a block `[B, N, C]` or of a stage `[B, H, W, C]`."""
    taps = getattr(seen, side)
    x = tap(side, taps, name)
    if x.ndim == 4:
        return Places(x.reshape(x.shape[0], -1, x.shape[-1]), 0, (x.shape[1], x.shape[2]))
    patches = tap(side, taps, "patches").shape[1]
    if x.ndim != 3 or x.shape[1] < patches:
        raise InputError(f"tap {name!r} of the {side} has shape {x.shape}: expected tokens [B, N, C] or a map [B, H, W, C]")
    return Places(x, x.shape[1] - patches, grid_of(patches, seen.batch["image"].shape[1:3]))


def grid_of(patches: int, image: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of square patches that fill an image of so many pixels."""
    height, width = image
    side = round((height * width / patches) ** 0.5)
    if (height // side) * (width // side) != patches:
        raise InputError(f"{patches} tokens are not those of square patches of an image of {height}x{width}")
    return height // side, width // side


def resized(x: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """A map `[B, H, W, C]` with other rows and columns, bilinearly; smoothed where it shrinks."""
    return x if x.shape[1:3] == grid else jax.image.resize(x, (x.shape[0], *grid, x.shape[-1]), "linear")


def layer_names(taps: Mapping[str, jax.Array]) -> list[str]:
    """The blocks of a transformer, else the ends of the stages."""
    return block_names(taps) or stage_names(taps)


def spread(names: Sequence[str], count: int) -> list[str]:
    """So many of the names, equally spaced, the last one among them: of 12, each fourth for 3."""
    return [names[-(-(k + 1) * len(names) // count) - 1] for k in range(count)]


def block_name(side: str, taps: Mapping[str, jax.Array], number: int = 0) -> str:
    """`"block<number>"`, from 1; 0 for the last."""
    names = block_names(taps)
    if not names:
        raise InputError(f"the {side} has no blocks with attention: expected a vision transformer")
    if number and f"block{number}" not in names:
        raise InputError(f"block={number} is not accepted: expected 1 to {len(names)}, the {side}'s blocks, or 0 for the last")
    return f"block{number}" if number else names[-1]


def heads(side: str, taps: Mapping[str, jax.Array], number: int = 0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values `[B, heads, N, D]` of one block."""
    name = block_name(side, taps, number)
    query, key, value = (tap(side, taps, f"{name}_{part}") for part in ("query", "key", "value"))
    return query, key, value
