"""Sets whose images are changed as a whole: tasks that are near to one another, and images as another network sees them."""

import math
from collections.abc import Callable

import numpy as np

from kdjax.core.check import check_option, pick
from kdjax.data.sampler import BANDS, NOISE, bits
from kdjax.data.source import Source, numbers_of

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_DEVIATION = 64  # of the noise, of 255


def alter(source: Source, kind: str) -> Source:
    """The same rows with images that are changed, each in the same way whenever it is read.

    Args:
      source: of images.
      kind: one of `ALTERATIONS`: `"inverted"`, `"mirrored"`, `"noisy"` (Gaussian, a quarter of the range, clipped), `"rotated"` (a
        quarter turn; of images that are as wide as high), `"scrambled"` (blocks of a fourth of the side change places, the same in
        every image).

    Raises:
      InputError: for another kind, or images to rotate that are not square.

    >>> from kdjax.data.source import array_source
    >>> rows = array_source(np.array([[[[0], [255]], [[9], [9]]]], np.uint8), np.zeros(1, int))
    >>> alter(rows, "inverted").read(np.array([0]))["image"].ravel().tolist()
    [255, 0, 246, 246]
    """
    change = pick("alteration", kind, ALTERATIONS)
    height, width = _images(source).shape[1:3]
    accepted = f"another one for images of {height}x{width}"
    check_option("alteration", kind, lambda kind: kind != "rotated" or height == width, accepted)
    return _mapped(source, change)


def with_channels(source: Source, channels: int) -> Source:
    """The same rows with images of so many channels: grey is repeated, three colours are weighed by luma.

    Raises:
      InputError: where images have another number of channels than these, and neither is 1, or colours are not three.

    >>> from kdjax.data.source import array_source
    >>> grey = array_source(np.full((1, 2, 2, 1), 5, np.uint8), np.zeros(1, int))
    >>> with_channels(grey, 3).read(np.array([0]))["image"].shape
    (1, 2, 2, 3)
    """
    found = _images(source).shape[-1]
    if found == channels:
        return source
    accepted = f"{found}, as its images have, 1 for grey" if found == 3 else f"{found}, as its images have"
    fits = found == 1 or (channels == 1 and found == 3)
    check_option("channels", channels, lambda _: fits, accepted)
    if found == 1:
        return _mapped(source, lambda images, _: np.repeat(images, channels, -1))
    return _mapped(source, lambda images, _: np.round(images @ _LUMA)[..., None].astype(np.uint8))


def in_bands(source: Source, bands: int, *, deviation: float = 0.1) -> Source:
    """The same rows as a sensor of several bands might see them: each band is a fixed linear form of the grey image, and noise.

        band = offset + gain x + noise,   |gain| in [0.2, 1), rising or falling, and offset such that the form stays in range

    Gains and offsets depend on the number of the band alone, so that fewer bands are the first of more; the noise, clipped with
    the sum, on the row and the number of bands.

    Args:
      source: of images with one channel.
      bands: how many, 1 or more.
      deviation: of the noise, a part of the range.

    Raises:
      InputError: for images of several channels, or a bad option.

    >>> from kdjax.data.source import array_source
    >>> grey = array_source(np.full((1, 2, 2, 1), 5, np.uint8), np.zeros(1, int))
    >>> in_bands(grey, 6).read(np.array([0]))["image"].shape
    (1, 2, 2, 6)
    """
    found = _images(source).shape[-1]
    check_option("source", f"images of {found} channels", lambda _: found == 1, "images of one channel")
    check_option("bands", bands, lambda n: int(n) == n >= 1, "a whole number, 1 or more")
    check_option("deviation", deviation, lambda v: v >= 0, "a number, 0 or more")
    drawn = [(bits(3, 0, number, BANDS) >> np.uint64(11)) * 2.0**-53 for number in range(bands)]
    size, place, falls = np.array(drawn).T
    size = 0.2 + 0.8 * size
    offset = 255 * ((1 - size) * place + size * (falls < 0.5))
    gain = np.where(falls < 0.5, -size, size)

    def change(images, index):
        added = _noise((*images.shape[:3], bands), index)
        return np.round(np.clip(offset + gain * images + 255 * deviation * added, 0, 255)).astype(np.uint8)

    return _mapped(source, change)


def _images(source: Source) -> np.ndarray:
    """No image, as they are read."""
    return source.read(np.zeros(0, np.int64))["image"]


def _mapped(source: Source, f: Callable) -> Source:
    def read(rows):
        found = source.read(rows)
        return {**found, "image": f(found["image"], found["index"])}

    return Source(source.size, read, source.labels, lambda: numbers_of(source))


def _noise(shape, index):
    """Box and Muller's normal numbers, those of a row by its number."""
    size = math.prod(shape[1:])

    def row(number):
        uniform = (bits(2 * size, 0, int(number), NOISE) >> np.uint64(11)) * 2.0**-53
        return np.sqrt(-2 * np.log1p(-uniform[:size])) * np.cos(2 * np.pi * uniform[size:])

    return np.array([row(number) for number in index]).reshape(shape)


def _noisy(images, index):
    return np.round(np.clip(images + _DEVIATION * _noise(images.shape, index), 0, 255)).astype(np.uint8)


def _scrambled(images, index):
    _, height, width, _ = images.shape
    high, wide = height // 4, width // 4  # what the division leaves over stays where it is
    out = images.copy()
    for place, block in enumerate((5, 12, 3, 8, 14, 0, 9, 7, 2, 15, 11, 4, 10, 1, 13, 6)):
        (to_y, to_x), (y, x) = divmod(place, 4), divmod(block, 4)
        out[:, to_y * high : (to_y + 1) * high, to_x * wide : (to_x + 1) * wide] = images[
            :, y * high : (y + 1) * high, x * wide : (x + 1) * wide
        ]
    return out


ALTERATIONS: dict[str, Callable] = {
    "inverted": lambda images, _: 255 - images,
    "mirrored": lambda images, _: images[:, :, ::-1],
    "noisy": _noisy,
    "rotated": lambda images, _: np.rot90(images, axes=(1, 2)),
    "scrambled": _scrambled,
}
