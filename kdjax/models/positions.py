"""Tables of positions that transformers add to their patches."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.core.memory import check_memory

EXTRA = ("class_token", "distillation_token")  # what stands in front of the patches, by the names of the parameters


def sincos_positions(grid: tuple[int, int], width: int, *, extra: int = 1) -> np.ndarray:
    """The fixed positions of MAE: sines and cosines of the column in the first half of the channels, of the row in the second.

        [sin(c w_j), cos(c w_j), sin(r w_j), cos(r w_j)],   w_j = 10000^(-4 j / width),   j = 0 .. width / 4 - 1

    Args:
      grid: rows and columns of patches.
      width: channels, a multiple of 4.
      extra: tokens in front of the patches, whose positions are 0.

    Returns:
      `[1, extra + rows * columns, width]`, float32.

    Raises:
      InputError: for another width, or a table that does not fit into memory.

    Reference: He, Chen, Xie, Li, Dollár, Girshick, "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022,
    arXiv 2111.06377.

    >>> sincos_positions((1, 2), 4)[0].round(2).tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.8399999737739563, 0.5400000214576721, 0.0, 1.0]]
    """
    check_option("width", width, lambda w: w > 0 and w % 4 == 0, "a multiple of 4 for the positions 'sincos'")
    check_memory(f"positions of {grid[0]}x{grid[1]} patches", 24 * math.prod(grid) * width, "smaller images or larger patches")
    rate = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    row, column = (np.outer(place, rate) for place in np.indices(grid).reshape(2, -1))
    table = np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], 1)
    return np.concatenate([np.zeros((extra, width)), table])[None].astype(np.float32)


def resize_positions(params: Any, side: int | tuple[int, int]) -> dict[str, Any]:
    """The parameters of a transformer for images of another side: its table of positions is interpolated bicubically.

    The positions of the class and distillation tokens, and all other parameters, stay. As in timm, the kernel is Keys' with
    a = -0.5, wider where the grid shrinks; DeiT's own code has a = -0.75 and the same width always.

    Args:
      params: of a net of `vit` with learned positions, made for square images.
      side: of the new images in pixels, or height and width.

    Returns:
      The parameters, of the new shape.

    Raises:
      InputError: for parameters without such a table, or a side that patches do not fill.

    Reference: Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981.

    >>> params = {"class_token": jnp.ones((1, 1, 8)), "embed": {"kernel": jnp.ones((4, 4, 3, 8))}}
    >>> params["positions"] = jnp.ones((1, 17, 8))  # of 16x16 pixels in patches of 4x4
    >>> resize_positions(params, (24, 16))["positions"].shape
    (1, 25, 8)
    """
    if "positions" not in params:
        raise InputError(f"these parameters have no 'positions' to resize: expected those of vit, have {', '.join(params)}")
    new = grid_of((side, side) if isinstance(side, int) else side, params["embed"]["kernel"].shape[0])
    table = jnp.asarray(params["positions"])
    extra = sum(name in params for name in EXTRA)
    old = math.isqrt(table.shape[1] - extra)
    if old * old != table.shape[1] - extra:
        raise InputError(f"positions of {table.shape[1] - extra} patches are not those of a square image: expected a square")
    patches = table[:, extra:].reshape(1, old, old, -1)
    patches = jax.image.resize(patches, (1, *new, table.shape[-1]), "cubic", precision=jax.lax.Precision.HIGHEST)
    patches = patches.reshape(1, -1, table.shape[-1]).astype(table.dtype)
    return {**params, "positions": jnp.concatenate([table[:, :extra], patches], 1)}


def grid_of(size: tuple[int, ...], patch: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of so many pixels.

    >>> grid_of((32, 24), 4)
    (8, 6)
    """
    height, width = size
    if height % patch or width % patch or not height * width:
        raise InputError(f"images of {height}x{width} pixels are not filled by patches of {patch}x{patch}")
    return height // patch, width // patch
