"""What is seen of synthetic images, in place of the whole ones."""

from collections.abc import Callable

import jax

from kdjax.augment import flip, pad_crop, random_resized_crop

Transform = Callable[[jax.Array, jax.Array], jax.Array]


def shifted(padding: int) -> Transform:
    """`(key, image) -> image`: crops of the padded image, and mirror images."""

    def transform(key, image):
        if padding:
            image = pad_crop(jax.random.fold_in(key, 0), image, padding=padding)
        return flip(jax.random.fold_in(key, 1), image)

    return transform


def zoomed(area: tuple[float, float]) -> Transform:
    """`(key, image) -> image`: a part of the image at its size, and mirror images."""

    def transform(key, image):
        image = random_resized_crop(jax.random.fold_in(key, 0), image, size=image.shape[:2], area=area)
        return flip(jax.random.fold_in(key, 1), image)

    return transform
