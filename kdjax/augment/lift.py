"""From transforms of one image to the `augment(keys, batch) -> batch` that a training loop calls."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError

Augment = Callable[[jax.Array, dict], dict]

# Views number their sub-keys from here, so that `two_views` after `on_images` with the same keys draws its own numbers.
_FIRST_VIEW = 1000


def as_float(image: jax.Array) -> jax.Array:
    """Pixels as float32 in [0, 1]: uint8 is divided by 255, floats only change their dtype.

    Args:
      image: any shape.

    Returns:
      The same shape, float32.

    Raises:
      InputError: for other dtypes, whose scale is not known.

    >>> as_float(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 1.0]
    """
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255.0
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(f"image of dtype {image.dtype} is not accepted: expected uint8, or floats in [0, 1]")
    return image.astype(jnp.float32)


def in_turn(*transforms: Callable) -> Callable:
    """The transform that applies others in order; number n draws from `fold_in(key, n)`.

    Args:
      *transforms: `(key, image) -> image`.

    Returns:
      `(key, image) -> image`.

    >>> in_turn(lambda key, image: image + 1, lambda key, image: image * 2)(jax.random.key(0), 1.0)
    4.0
    """

    def one(key, image):
        for number, transform in enumerate(transforms):
            image = transform(jax.random.fold_in(key, number), image)
        return image

    return one


def on_images(*transforms: Callable) -> Augment:
    """The augmentation that passes every image through the transforms, in order.

    Transform number n draws from `fold_in(key of the row, n)`: a row depends on its own key and image only.

    Args:
      *transforms: `(key, image [H, W, C]) -> image`.

    Returns:
      `(keys [B], batch) -> batch` with a new `batch["image"]`, float32.

    >>> from kdjax.augment import flip
    >>> batch = {"image": jnp.zeros((2, 4, 4, 1), jnp.uint8), "label": jnp.arange(2)}
    >>> on_images(flip)(jax.random.split(jax.random.key(0), 2), batch)["image"].dtype.name
    'float32'
    """

    one = in_turn(*transforms)

    def augment(keys, batch):
        return {**batch, "image": jax.vmap(one)(keys, as_float(batch["image"]))}

    return augment


def two_views(view1: Callable, view2: Callable) -> Augment:
    """The augmentation that adds two views of every image; `batch["image"]` stays as it is.

    Args:
      view1: `(key, image [H, W, C]) -> image`.
      view2: likewise; the two may differ in size.

    Returns:
      `(keys [B], batch) -> batch` with `batch["views"] = (v1, v2)`, float32, each from a sub-key of its own.

    >>> from kdjax.augment import flip
    >>> batch = {"image": jnp.zeros((2, 4, 4, 1), jnp.uint8)}
    >>> [v.shape for v in two_views(flip, flip)(jax.random.split(jax.random.key(0), 2), batch)["views"]]
    [(2, 4, 4, 1), (2, 4, 4, 1)]
    """

    def one(key, image):
        return tuple(view(jax.random.fold_in(key, _FIRST_VIEW + n), image) for n, view in enumerate((view1, view2)))

    def augment(keys, batch):
        return {**batch, "views": jax.vmap(one)(keys, as_float(batch["image"]))}

    return augment
