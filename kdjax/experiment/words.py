"""Words in a method's name that change the images it learns from, as in `kd+cutmix`."""

from collections.abc import Callable

import jax

from kdjax import augment
from kdjax.core import check_option


def cutout(key: jax.Array, image: jax.Array, *, size: int = 0, fill: jax.Array) -> jax.Array:
    """A box of one image becomes `fill`: of side `size`, 0: a quarter of the image's."""
    return augment.cutout(key, image, size=size or max(1, min(image.shape[:2]) // 4), fill=fill)


# `mix` of `recipes.mixed`, but for `cutout`, which sees one image; their keyword defaults are the options that a config shows.
WORDS: dict[str, Callable] = {
    "cutmix": augment.cutmix,
    "cutout": cutout,
    "manifold_mixup": augment.manifold_mixup,
    "mixup": augment.mixup,
}
MIXING = [word for word in WORDS if word != "cutout"]  # of which a name has one at most


def parted(name: str) -> tuple[str, list[str]]:
    """The method, or sum, of a name, and the words in it.

    Raises:
      InputError: for words that come twice, or two that mix.

    >>> parted("crd+kd+mixup")
    ('crd+kd', ['mixup'])
    """
    parts = name.split("+")
    words = [part for part in parts if part in WORDS]
    alone = f"one of {', '.join(MIXING)} at most, and no word twice"
    check_option("method", name, lambda _: len({*words} & {*MIXING}) < 2 and len({*words}) == len(words), alone)
    return "+".join([part for part in parts if part not in words]), words
