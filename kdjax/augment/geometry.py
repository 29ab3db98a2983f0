"""Where the pixels of a transformed image come from, so that masks, boxes and points can follow it."""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError
from kdjax.core.node import Node, static


class Geometry(Node):
    """An affine map from the points of a transformed image back to those of the image it was made from: `p = matrix q + offset`.

    Points are (x to the right, y down) in pixels from the top left corner, so that the first pixel covers [0, 1) x [0, 1).

    Attributes:
      matrix: `[2, 2]` float32, invertible.
      offset: `[2]` float32, pixels of the original.
      size: `(height, width)` of the transformed image.
    """

    matrix: jax.Array
    offset: jax.Array
    size: tuple[int, ...] = static()


def same(size: tuple[int, ...]) -> Geometry:
    """The geometry of an image of `(height, width)` that stays as it is.

    >>> same((2, 3)).offset.tolist()
    [0.0, 0.0]
    """
    return Geometry(jnp.eye(2), jnp.zeros(2), tuple(size))


def of_box(box: tuple, size: tuple[int, ...]) -> Geometry:
    """The geometry of a window that is brought to another size.

    Args:
      box: `(top, left, box height, box width)` in pixels of the original; it may reach over the border.
      size: `(height, width)` of the result.
    """
    top, left, tall, wide = (jnp.asarray(x, jnp.float32) for x in box)
    return Geometry(jnp.diag(jnp.stack([wide / size[1], tall / size[0]])), jnp.stack([left, top]), tuple(size))


def after(first: Geometry, second: Geometry) -> Geometry:
    """The geometry of two transforms in turn; `second` is that of the image `first` gave.

    >>> halves = of_box((0, 0, 4, 4), (2, 2))
    >>> after(halves, of_box((1, 1, 1, 1), (1, 1))).offset.tolist()
    [2.0, 2.0]
    """
    return Geometry(first.matrix @ second.matrix, first.matrix @ second.offset + first.offset, second.size)


def choose(condition: jax.Array, yes: Geometry, no: Geometry) -> Geometry:
    """One of two geometries of the same size.

    Raises:
      InputError: where the sizes differ.
    """
    if yes.size != no.size:
        raise InputError(f"geometries of sizes {yes.size} and {no.size} are not accepted: expected the same")
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def has_geometry(transform: Callable) -> bool:
    """Whether a transform can say where pixels come from, by an option `geometry`, as `flip` and `partial(flip, p=1)` can."""
    return "geometry" in inspect.signature(transform).parameters


def trace(transform: Callable, key: jax.Array, image: jax.Array) -> tuple[jax.Array, Geometry]:
    """A transformed image and its geometry; a transform without an option `geometry` is one that moves nothing.

    Raises:
      InputError: where such a transform changes the size of the image.
    """
    if has_geometry(transform):
        return transform(key, image, geometry=True)
    changed = transform(key, image)
    if changed.shape[:2] != image.shape[:2]:
        raise InputError(f"transform {name_of(transform)} changes the size of the image: expected one with an option geometry")
    return changed, same(image.shape[:2])


def name_of(transform: Callable) -> str:
    """What a message calls a transform."""
    return getattr(transform, "__name__", repr(transform))


def move_mask(mask: jax.Array, geometry: Geometry, *, fill: int | float = -1) -> jax.Array:
    """The mask of a transformed image: each pixel takes the value of the pixel that its middle comes from.

    Args:
      mask: `[H, W]` or `[H, W, C]`, of any dtype.
      geometry: of the image.
      fill: where pixels come from outside. One that the mask's dtype cannot hold, such as -1 in uint8, makes the result int32.

    Returns:
      `[*size]` or `[*size, C]`.

    >>> move_mask(jnp.array([[1, 2], [3, 4]]), of_box((0, 1, 2, 2), (2, 2))).tolist()
    [[2, -1], [4, -1]]
    """
    if mask.dtype == bool or (jnp.issubdtype(mask.dtype, jnp.unsignedinteger) and fill < 0):
        mask = mask.astype(jnp.int32)
    height, width = mask.shape[:2]
    x, y = (jnp.floor(v).astype(jnp.int32) for v in _origins(geometry))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = mask[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]
    return jnp.where(inside.reshape(*inside.shape, *[1] * (mask.ndim - 2)), found, jnp.asarray(fill, mask.dtype))


def move_points(points: jax.Array, geometry: Geometry) -> jax.Array:
    """Where points of the original lie in the transformed image; some may be outside.

    Args:
      points: `[..., 2]`, (x, y) in pixels.
      geometry: of the image.

    Returns:
      `[..., 2]` float32.

    >>> move_points(jnp.array([3.0, 2.0]), of_box((0, 2, 4, 4), (2, 2))).tolist()
    [0.5, 1.0]
    """
    (a, b), (c, d) = geometry.matrix
    inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return jnp.einsum("ij,...j->...i", inverse, points - _row(geometry.offset, points.ndim), precision="highest")


def correspondence(first: Geometry, second: Geometry, grid: tuple[int, int]) -> jax.Array:
    """Where what the cells of one view show lies in another view of the same image.

    Args:
      first: of the view that is cut into cells.
      second: of the other view.
      grid: `(rows, columns)` of cells that fill the first view, as those of a map of features do.

    Returns:
      `[rows, columns, 2]` float32, (x, y) of the middle of each cell in fractions of the second view's width and height, which are
      from 0 to 1 inside of it.

    >>> left, whole = of_box((0, 0, 4, 2), (4, 4)), same((4, 4))
    >>> correspondence(left, whole, (1, 2)).tolist()
    [[[0.125, 0.5], [0.375, 0.5]]]
    """
    height, width = first.size
    middles = jnp.stack(_origins(after(first, of_box((0, 0, height, width), grid))), -1)
    return move_points(middles, second) / _row(jnp.array(second.size[::-1], jnp.float32), 3)


def move_boxes(boxes: jax.Array, geometry: Geometry, *, fill: int | float = -1) -> jax.Array:
    """The boxes of a transformed image: the smallest upright ones around the moved corners, cut at the image's border.

    Args:
      boxes: `[N, 4]`, (left, top, right, bottom) in pixels. Rows with right <= left or bottom <= top, such as a filling of -1, hold
        no box.
      geometry: of the image.
      fill: all four numbers of a row that holds no box, or of which nothing is left inside.

    Returns:
      `[N, 4]` float32.

    >>> move_boxes(jnp.array([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 1.0, 1.0]]), of_box((0, 2, 2, 2), (4, 4))).tolist()
    [[0.0, 0.0, 2.0, 4.0], [-1.0, -1.0, -1.0, -1.0]]
    """
    boxes = boxes.astype(jnp.float32)
    left, top, right, bottom = jnp.moveaxis(boxes, -1, 0)
    corners = jnp.stack([jnp.stack([x, y], -1) for x in (left, right) for y in (top, bottom)], -2)
    moved = move_points(corners, geometry)
    border = jnp.array(geometry.size[::-1], jnp.float32)
    low, high = (jnp.clip(f(moved, -2), 0.0, _row(border, 2)) for f in (jnp.min, jnp.max))
    held = (right > left) & (bottom > top) & jnp.all(high > low, -1)
    return jnp.where(held[:, None], jnp.concatenate([low, high], -1), jnp.float32(fill))


def _origins(geometry: Geometry) -> tuple[jax.Array, jax.Array]:
    """Where the middles of all pixels come from: x and y, `[H, W]` each."""
    height, width = geometry.size
    x, y = jnp.arange(width)[None, :] + 0.5, jnp.arange(height)[:, None] + 0.5
    (a, b), (c, d) = geometry.matrix
    return a * x + b * y + geometry.offset[0], c * x + d * y + geometry.offset[1]


def _row(vector: jax.Array, rank: int) -> jax.Array:
    return vector.reshape(*[1] * (rank - 1), -1)
