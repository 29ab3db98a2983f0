"""Rotation, scale, shear and shift."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.augment._image import between, check_image, check_positive_range
from kdjax.augment.geometry import Geometry
from kdjax.core.check import InputError, check_option


def affine(
    key: jax.Array,
    image: jax.Array,
    *,
    rotation: float | jax.Array = 0.35,
    scale: tuple = (0.75, 1.25),
    shear: float | jax.Array = 0.3,
    shift: float | jax.Array = 1.0,
    fill: str = "zero",
    geometry: bool = False,
) -> Any:
    """Moves the image by a random affine map about its middle. The defaults suit small pictures of digits.

    The map is `p -> s R(angle) [[1, k], [0, 1]] p + t` in coordinates (x to the right, y down) from the middle.

    Args:
      key: random key.
      image: `[H, W, C]`.
      rotation: angle in U(-r, r), radians.
      scale: `s` is uniform between the two; above 1 enlarges.
      shear: `k` in U(-shear, shear).
      shift: each entry of `t` in U(-shift, shift), pixels.
      fill: `"zero"`, or `"edge"` for the nearest pixel of the border.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[H, W, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option.

    >>> jax.jit(affine)(jax.random.key(0), jnp.ones((8, 8, 1))).shape
    (8, 8, 1)
    """
    check_positive_range("scale", scale)
    for name, value in (("rotation", rotation), ("shear", shear), ("shift", shift)):
        check_option(name, value, lambda v: v >= 0, "a number, 0 or more")
    key_angle, key_scale, key_shear, key_shift = jax.random.split(key, 4)
    angle = between(key_angle, -rotation, rotation)
    k = between(key_shear, -shear, shear)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    matrix = between(key_scale, *scale) * jnp.array([[cos, k * cos - sin], [sin, k * sin + cos]])
    return warp(image, matrix=matrix, shift=between(key_shift, -shift, shift, (2,)), fill=fill, geometry=geometry)


def warp(image: jax.Array, *, matrix: jax.Array, shift: jax.Array, fill: str = "zero", geometry: bool = False) -> Any:
    """Moves every point `p` of the image to `matrix p + shift`, measured from the middle; bilinear.

    Args:
      image: `[H, W, C]`.
      matrix: `[2, 2]`, invertible, on (x to the right, y down).
      shift: `[2]`, (x, y) in pixels.
      fill: `"zero"`, or `"edge"` for the nearest pixel of the border.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[H, W, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option.

    >>> warp(jnp.array([[[1.0], [2.0]]]), matrix=jnp.eye(2), shift=jnp.array([1.0, 0.0]))[..., 0].tolist()
    [[0.0, 1.0]]
    """
    check_image(image)
    check_option("fill", fill, lambda f: f in ("zero", "edge"), "'zero' or 'edge'")
    if matrix.shape != (2, 2) or shift.shape != (2,):
        raise InputError(f"matrix {matrix.shape} and shift {shift.shape} are not accepted: expected (2, 2) and (2,)")
    height, width, _ = image.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    dx = jnp.arange(width, dtype=jnp.float32)[None, :] - middle_x - shift[0]
    dy = jnp.arange(height, dtype=jnp.float32)[:, None] - middle_y - shift[1]
    (a, b), (c, d) = matrix
    det = a * d - b * c
    # Where each pixel of the result comes from: the inverse map.
    x = (d * dx - b * dy) / det + middle_x
    y = (a * dy - c * dx) / det + middle_y
    if fill == "edge":
        x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left, top = jnp.floor(x), jnp.floor(y)
    result = jnp.zeros_like(image)
    for row, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
        for column, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = jnp.where(inside, weight_y * weight_x, 0.0)
            i = jnp.clip(row, 0, height - 1).astype(jnp.int32)
            j = jnp.clip(column, 0, width - 1).astype(jnp.int32)
            result += weight[:, :, None] * image[i, j]
    if not geometry:
        return result
    inverse = jnp.array([[d, -b], [-c, a]]) / det
    middle = jnp.array([width / 2, height / 2], jnp.float32)
    return result, Geometry(inverse, middle - inverse @ (middle + shift), (height, width))
