"""Images on a grid."""

from pathlib import Path

import numpy as np


def grid(path: Path, images: np.ndarray, title: str = "") -> None:
    """Writes a square grid of images, as many as fill it, large enough to look at.

    Args:
      path: of the PNG.
      images: `[N, H, W, C]` in [0, 1], with one channel or three.
      title: above; nothing where it is empty.
    """
    from PIL import Image, ImageDraw, ImageFont

    side = int(np.sqrt(len(images)))
    images = np.clip(images[: side * side], 0, 1)
    images = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    _, height, width, channels = images.shape
    whole = images.reshape(side, side, height, width, channels).swapaxes(1, 2).reshape(side * height, side * width, channels)
    zoom = max(1, 512 // whole.shape[0])
    pixels = np.repeat(np.repeat(np.round(whole * 255).astype(np.uint8), zoom, 0), zoom, 1)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    if title:
        plain, image = image, Image.new(image.mode, (image.width, image.height + 32), "white")
        image.paste(plain, (0, 32))
        ImageDraw.Draw(image).text((6, 5), title, fill="black", font=ImageFont.load_default(20))
    image.save(path)
