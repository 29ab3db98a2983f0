"""The one policy by which images change their size on the host."""

import numpy as np

from kdjax.core.extra import extra


def resize_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes the shorter side to `size` and cuts the square in the centre.

    Bilinear with antialiasing; the longer side is rounded to whole pixels. An image of the right size stays as it is.

    Args:
      image: uint8 `[H, W, C]`.
      size: the side of the square, in pixels.

    Returns:
      uint8 `[size, size, C]`.

    >>> resize_crop(np.zeros((10, 20, 3), np.uint8), 5).shape
    (5, 5, 3)
    """
    with extra("run"):
        from PIL import Image

    height, width = image.shape[:2]
    if height == width == size:
        return image
    short = min(height, width)
    tall, wide = (max(size, round(side * size / short)) for side in (height, width))
    # Channel by channel, so that any number of channels will do.
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[-1])]
    out = np.stack([np.asarray(p.resize((wide, tall), Image.Resampling.BILINEAR)) for p in planes], axis=-1)
    top, left = (tall - size) // 2, (wide - size) // 2
    return np.ascontiguousarray(out[top : top + size, left : left + size])
