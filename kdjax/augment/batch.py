"""From transforms of one image to the `augment(keys, batch) -> batch` that a training loop calls."""

from collections.abc import Callable

import jax

from kdjax.augment.geometry import after, same, trace
from kdjax.core.images import as_float

Augment = Callable[[jax.Array, dict], dict]

# Views number their sub-keys from here, so that `views` after `per_image` with the same keys draws its own numbers.
_FIRST_VIEW = 1000


def compose(*transforms: Callable) -> Callable:
    """The transform that applies others in order; number n draws from `fold_in(key, n)`.

    Args:
      *transforms: `(key, image) -> image`.

    Returns:
      `(key, image, geometry=False) -> image`; with `geometry`, `(image, Geometry)`, to which those without such an option add
      nothing.

    >>> compose(lambda key, image: image + 1, lambda key, image: image * 2)(jax.random.key(0), 1.0)
    4.0
    """

    def one(key, image, geometry=False):
        moved = same(image.shape[:2]) if geometry else None
        for number, transform in enumerate(transforms):
            own = jax.random.fold_in(key, number)
            if moved is None:
                image = transform(own, image)
            else:
                image, new = trace(transform, own, image)
                moved = after(moved, new)
        return image if moved is None else (image, moved)

    return one


def per_image(*transforms: Callable) -> Augment:
    """The augmentation that passes every image through the transforms, in order.

    Transform number n draws from `fold_in(key of the row, n)`: a row depends on its own key and image only.

    Args:
      *transforms: `(key, image [H, W, C]) -> image`. Without any, batches that hold no images pass.

    Returns:
      `(keys [B], batch) -> batch` with a new `batch["image"]`, float32.

    >>> import jax.numpy as jnp
    >>> from kdjax.augment import flip
    >>> batch = {"image": jnp.zeros((2, 4, 4, 1), jnp.uint8), "label": jnp.arange(2)}
    >>> per_image(flip)(jax.random.split(jax.random.key(0), 2), batch)["image"].dtype.name
    'float32'
    """

    one = compose(*transforms)

    def augment(keys, batch):
        if not transforms and "image" not in batch:
            return batch
        return {**batch, "image": jax.vmap(one)(keys, as_float(batch["image"]))}

    return augment


def views(*transforms: Callable, geometry: bool = False) -> Augment:
    """The augmentation that adds several views of every image; `batch["image"]` stays as it is.

    Args:
      *transforms: `(key, image [H, W, C]) -> image`, one a view; their sizes may differ, as those of global and local crops do.
      geometry: whether to add where the pixels of each view come from.

    Returns:
      `(keys [B], batch) -> batch` with `batch["views"]`, a tuple of float32 arrays, each drawn from a sub-key of its own; with
      `geometry` also `batch["geometry"]`, a tuple of `Geometry`s whose arrays lead with `[B]`.

    >>> import jax.numpy as jnp
    >>> from kdjax.augment import flip
    >>> batch = {"image": jnp.zeros((2, 4, 4, 1), jnp.uint8)}
    >>> [v.shape for v in views(flip, flip, flip)(jax.random.split(jax.random.key(0), 2), batch)["views"]]
    [(2, 4, 4, 1), (2, 4, 4, 1), (2, 4, 4, 1)]
    """

    def one(key, image):
        keys = [jax.random.fold_in(key, _FIRST_VIEW + number) for number in range(len(transforms))]
        if not geometry:
            return {"views": tuple(view(own, image) for view, own in zip(transforms, keys, strict=True))}
        both = [trace(view, own, image) for view, own in zip(transforms, keys, strict=True)]
        return {"views": tuple(view for view, _ in both), "geometry": tuple(moved for _, moved in both)}

    def augment(keys, batch):
        return {**batch, **jax.vmap(one)(keys, as_float(batch["image"]))}

    return augment
