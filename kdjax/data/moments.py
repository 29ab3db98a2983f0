"""What images are normalised with: one measurement, whichever way they are read."""

import numpy as np

from kdjax.data.damaged import read_undamaged
from kdjax.data.sampler import spread_rows
from kdjax.data.source import Source

IMAGES = 10_000  # so many at most ...
PIXELS = 2**26  # ... and of large images as many as hold so many pixels, but
FEWEST = 1_000  # never fewer than these
CHUNK = 2**22  # pixels read at once


def channel_moments(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over the images of a source, with 255 as 1.

    Of a large source a sample is read: 10,000 images or, where an image has more than 6,710 pixels, as many as hold 2^26
    pixels, at least 1,000. They are spread evenly from the first row to the last, so that a set sorted by class is
    measured in all its classes. Sums are exact: the result depends on neither reader, chunks nor machine. An image that
    cannot be decoded gives way to the next, as in `read_undamaged`; whether it is refused is decided where it is learned from.

    Args:
      source: images uint8 `[H, W, C]`, 1 or more.

    Returns:
      `(mean, std)`, float64 `[C]`; the standard deviation over all pixels, 0 for images of one value.

    >>> from kdjax.data.source import array_source
    >>> halves = np.repeat(np.array([0, 255], np.uint8), 4).reshape(8, 1, 1, 1)
    >>> channel_moments(array_source(halves, np.zeros(8)))
    (array([0.5]), array([0.5]))
    """
    height, width, _ = read_undamaged(source, np.zeros(1, np.int32), skip=True)[0]["image"].shape[1:]
    rows = spread_rows(source.size, min(IMAGES, max(FEWEST, PIXELS // (height * width))))
    count, total, squares = 0, np.uint64(0), np.uint64(0)
    for some in np.array_split(rows, -(-len(rows) * height * width // CHUNK)):
        images = read_undamaged(source, some, skip=True)[0]["image"]
        pixels = images.reshape(-1, images.shape[-1]).astype(np.uint64)
        count, total, squares = count + len(pixels), total + pixels.sum(0), squares + (pixels**2).sum(0)
    mean, square = np.asarray(total / count), np.asarray(squares / count)
    return mean / 255, np.sqrt(np.maximum(square - mean**2, 0)) / 255
