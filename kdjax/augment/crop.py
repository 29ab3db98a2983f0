"""Crops and resizing."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.augment._image import between, check_image, check_positive_range, pair
from kdjax.augment.geometry import of_box
from kdjax.core.check import InputError, check_option

Box = tuple[jax.Array | int, jax.Array | int, jax.Array | int, jax.Array | int]


def pad_crop(key: jax.Array, image: jax.Array, *, padding: int = 4, mode: str = "constant", geometry: bool = False) -> Any:
    """Pads all four sides, then cuts a window of the first size at a uniform position.

    Args:
      key: random key.
      image: `[H, W, C]`.
      padding: pixels added on each side.
      mode: `"constant"` pads zeros, `"reflect"` mirrors the image without its edge row.
      geometry: whether to return where the pixels come from as well. What is mirrored counts as outside.

    Returns:
      `[H, W, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option, or a reflection wider than the image.

    >>> pad_crop(jax.random.key(0), jnp.ones((8, 8, 1)), padding=2).shape
    (8, 8, 1)
    """
    check_image(image)
    check_option("mode", mode, lambda m: m in ("constant", "reflect"), "'constant' or 'reflect'")
    check_option("padding", padding, lambda n: n >= 0, "a whole number, 0 or more")
    if mode == "reflect" and padding >= min(image.shape[:2]):
        raise InputError(f"padding={padding} is not accepted: reflection of {image.shape} needs less than its shorter side")
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode)
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    cut = lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), image.shape)
    return (cut, of_box((top - padding, left - padding, *image.shape[:2]), image.shape[:2])) if geometry else cut


def centre_crop(image: jax.Array, *, size: int | tuple[int, int], geometry: bool = False) -> Any:
    """The window of `size` around the middle; where the margin is odd, the spare pixel is cut at the bottom and right.

    Args:
      image: `[H, W, C]`.
      size: height and width of the window, or one number for both.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[*size, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: where the window is larger than the image.

    >>> centre_crop(jnp.arange(16.0).reshape(4, 4, 1), size=2)[..., 0].tolist()
    [[5.0, 6.0], [9.0, 10.0]]
    """
    check_image(image)
    height, width = pair(size)
    if height > image.shape[0] or width > image.shape[1]:
        raise InputError(f"size={size} is not accepted: expected at most the image's {image.shape[:2]}")
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    cut = image[top : top + height, left : left + width]
    return (cut, of_box((top, left, height, width), (height, width))) if geometry else cut


def resize(
    image: jax.Array, *, size: int | tuple[int, int], method: str = "bicubic", antialias: bool = True, geometry: bool = False
) -> Any:
    """The whole image at another size, clipped to [0, 1]. Options as in `random_resized_crop`.

    Args:
      image: `[H, W, C]`.
      size: height and width of the result, or one number for both.
      method: `"bicubic"` or `"bilinear"`.
      antialias: whether the kernel widens when the image shrinks.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[*size, C]`; with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option.

    >>> resize(jnp.ones((8, 8, 1)), size=(4, 6)).shape
    (4, 6, 1)
    """
    check_image(image)
    box = (0, 0, image.shape[0], image.shape[1])
    resized = resize_box(image, box, size=size, method=method, antialias=antialias)
    return (resized, of_box(box, pair(size))) if geometry else resized


def random_resized_crop(
    key: jax.Array,
    image: jax.Array,
    *,
    size: int | tuple[int, int],
    area: tuple = (0.08, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    method: str = "bicubic",
    antialias: bool = True,
    geometry: bool = False,
) -> Any:
    """A random box of the image, resized: `resize_box(image, crop_box(key, ...))`.

    Args:
      key: random key.
      image: `[H, W, C]` in [0, 1].
      size: height and width of the result, or one number for both.
      area: least and largest share of the image's area.
      ratio: least and largest width / height of the box.
      method: `"bicubic"` (Keys' kernel, a = -0.5) or `"bilinear"`.
      antialias: whether the kernel widens when the box shrinks, as image libraries do. False interpolates between the
        nearest pixels only.
      geometry: whether to return where the pixels come from as well.

    Returns:
      `[*size, C]`, clipped to [0, 1] (the cubic kernel overshoots); with `geometry`, `(image, Geometry)`.

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Szegedy et al., Going Deeper with Convolutions, CVPR 2015, arXiv 1409.4842; without retries: Grill et al.,
      Bootstrap Your Own Latent, NeurIPS 2020, arXiv 2006.07733.

    >>> random_resized_crop(jax.random.key(0), jnp.ones((8, 8, 1)), size=4).shape
    (4, 4, 1)
    """
    check_image(image)
    box = crop_box(key, image.shape[0], image.shape[1], area=area, ratio=ratio)
    resized = resize_box(image, box, size=size, method=method, antialias=antialias)
    return (resized, of_box(box, pair(size))) if geometry else resized


def crop_box(key: jax.Array, height: int, width: int, *, area: tuple = (0.08, 1.0), ratio: tuple = (3 / 4, 4 / 3)) -> Box:
    """Draws a box of random area, shape and place: `w = min(round(sqrt(a r)), W)`, `h = min(round(sqrt(a / r)), H)`.

    Here `a` is uniform in `area * H * W` and `log r` uniform in `log ratio`. A box that does not fit is cut to the
    image's side, not drawn again. It is never thinner than one pixel.

    Args:
      key: random key.
      height: height of the image.
      width: width of the image.
      area: least and largest share of the image's area, at most 1.
      ratio: least and largest width / height of the box.

    Returns:
      Whole numbers `(top, left, box height, box width)`.

    Raises:
      InputError: for a bad option.

    >>> [int(v) for v in crop_box(jax.random.key(0), 8, 6, area=(1.0, 1.0), ratio=(0.75, 0.75))]
    [0, 0, 8, 6]
    """
    check_positive_range("area", area, 1.0)
    check_positive_range("ratio", ratio)
    key_area, key_ratio, key_top, key_left = jax.random.split(key, 4)
    pixels = height * width * between(key_area, *area)
    shape = jnp.exp(between(key_ratio, jnp.log(ratio[0]), jnp.log(ratio[1])))
    tall = jnp.clip(jnp.round(jnp.sqrt(pixels / shape)).astype(jnp.int32), 1, height)
    wide = jnp.clip(jnp.round(jnp.sqrt(pixels * shape)).astype(jnp.int32), 1, width)
    top = jax.random.randint(key_top, (), 0, height - tall + 1)
    left = jax.random.randint(key_left, (), 0, width - wide + 1)
    return top, left, tall, wide


def resize_box(
    image: jax.Array, box: Box, *, size: int | tuple[int, int], method: str = "bicubic", antialias: bool = True
) -> jax.Array:
    """Cuts `box` out of the image and resizes it. Only pixels inside the box count, so it equals a crop, then a resize.

    The box may be traced: the result is two products with matrices of weights, and no shape depends on the box.

    Args:
      image: `[H, W, C]` in [0, 1].
      box: whole numbers `(top, left, box height, box width)` inside the image.
      size: height and width of the result, or one number for both.
      method: `"bicubic"` or `"bilinear"`.
      antialias: whether the kernel widens when the box shrinks.

    Returns:
      `[*size, C]`, clipped to [0, 1].

    Raises:
      InputError: for a bad shape or option.

    >>> resize_box(jnp.arange(16.0).reshape(4, 4, 1) / 16, (1, 1, 2, 2), size=1, method="bilinear").item() * 16
    7.5
    """
    check_image(image)
    check_option("method", method, lambda m: m in ("bicubic", "bilinear"), "'bicubic' or 'bilinear'")
    top, left, tall, wide = box
    rows, columns = pair(size)
    inside_y = _inside(image.shape[0], top, tall)
    inside_x = _inside(image.shape[1], left, wide)
    start = jnp.array([top, left], jnp.float32)
    scale = jnp.array([rows, columns], jnp.float32) / jnp.array([tall, wide], jnp.float32)

    def sample(x, shape, dims, axes):
        return jax.image.scale_and_translate(x, shape, dims, scale[axes], -start[axes] * scale[axes], method, antialias=antialias)

    masked = image * inside_y[:, None, None] * inside_x[None, :, None]
    resized = sample(masked, (rows, columns, image.shape[2]), (0, 1), slice(0, 2))
    # The weights sum to 1 over the whole image. Dividing by their sum inside the box leaves out the pixels around it.
    weight_y = sample(inside_y, (rows,), (0,), slice(0, 1))
    weight_x = sample(inside_x, (columns,), (0,), slice(1, 2))
    return jnp.clip(resized / (weight_y[:, None, None] * weight_x[None, :, None]), 0.0, 1.0)


def _inside(length: int, start: jax.Array | int, count: jax.Array | int) -> jax.Array:
    place = jnp.arange(length)
    return ((place >= start) & (place < start + count)).astype(jnp.float32)
