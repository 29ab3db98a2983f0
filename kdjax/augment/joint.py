"""One draw for images, masks and boxes together."""

from collections.abc import Callable, Sequence

import jax

from kdjax.augment.batch import Augment, as_float, compose
from kdjax.augment.geometry import has_geometry, move_boxes, move_mask, name_of
from kdjax.core.check import InputError


def jointly(
    geometric: Sequence[Callable],
    photometric: Sequence[Callable] = (),
    *,
    images: Sequence[str] = ("image",),
    masks: Sequence[str] = (),
    boxes: Sequence[str] = (),
    fill: int | float = -1,
) -> Augment:
    """The augmentation that moves the images, masks and boxes of a row by one draw, then changes the colours of the images alone.

    Masks take the nearest pixel; boxes become the smallest upright ones around their moved corners, cut at the border. Images come
    out as `per_image(*geometric, *photometric)` with the same keys makes them.

    Args:
      geometric: `(key, image) -> image` with an option `geometry`: `flip`, `pad_crop`, `random_resized_crop`, `affine`, what
        `compose` and `random_apply` make of them, or `functools.partial` of any.
      photometric: `(key, image) -> image`, which keep every pixel in its place.
      images: names of columns `[B, H, W, C]`, uint8 or floats; all of a row see the same draws.
      masks: names of columns `[B, H, W]` or `[B, H, W, C]`, of the images' height and width.
      boxes: names of columns `[B, N, 4]`, (left, top, right, bottom) in pixels; rows without area, as a filling of -1, are none.
      fill: of masks where pixels come from outside, and of boxes that lie outside; a negative one makes unsigned masks int32.

    Returns:
      `(keys [B], batch) -> batch`: images float32, the other columns as they are.

    Raises:
      InputError: for a geometric transform without an option `geometry`, a column that is missing or of another size.

    >>> import jax.numpy as jnp
    >>> from functools import partial
    >>> from kdjax.augment import flip
    >>> batch = {"image": jnp.zeros((1, 1, 2, 1)), "mask": jnp.array([[[0, 1]]]), "boxes": jnp.array([[[0.0, 0.0, 1.0, 1.0]]])}
    >>> moved = jointly([partial(flip, p=1.0)], masks=["mask"], boxes=["boxes"])(jax.random.split(jax.random.key(0), 1), batch)
    >>> moved["mask"].tolist(), moved["boxes"].tolist()
    ([[[1, 0]]], [[[1.0, 0.0, 2.0, 1.0]]])
    """
    for transform in geometric:
        if not has_geometry(transform):
            raise InputError(
                f"geometric transform {name_of(transform)} is not accepted: expected one with an option geometry, such as flip"
            )
    move, change = compose(*geometric), compose(*[lambda key, image: image] * len(geometric), *photometric)

    def one(key, row):
        found = {}
        for name in images:
            image, geometry = move(key, as_float(row[name]), geometry=True)
            found[name] = change(key, image)
        found |= {name: move_mask(row[name], geometry, fill=fill) for name in masks}
        return found | {name: move_boxes(row[name], geometry, fill=fill) for name in boxes}

    def augment(keys, batch):
        _check(batch, images, masks, boxes)
        moving = {name: batch[name] for name in (*images, *masks, *boxes)}
        return {**batch, **jax.vmap(one)(keys, moving)}

    return augment


def _check(batch: dict, images: Sequence[str], masks: Sequence[str], boxes: Sequence[str]) -> None:
    if not images:
        raise InputError("images=() is not accepted: expected the name of at least one column")
    if missing := [name for name in (*images, *masks, *boxes) if name not in batch]:
        raise InputError(f"column {missing[0]!r} is not in the batch; it has {', '.join(batch)}")
    size = batch[images[0]].shape[1:3]
    for name in (*images, *masks):
        if batch[name].shape[1:3] != size or batch[name].ndim not in (3, 4):
            wanted = f"{size} pixels, as {images[0]!r} has"
            raise InputError(f"column {name!r} of shape {batch[name].shape} is not accepted: expected {wanted}")
    for name in boxes:
        if batch[name].ndim != 3 or batch[name].shape[-1] != 4:
            raise InputError(f"column {name!r} of shape {batch[name].shape} is not accepted: expected boxes [B, N, 4]")
