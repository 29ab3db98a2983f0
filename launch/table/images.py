"""Images on a grid."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdjax.core.files import write_bytes


def grid(path: Path, images: np.ndarray, title: str = "", rows: int | None = None, names: Sequence[str] = ()) -> int:
    """Writes a grid of images, as many as fill it, large enough to look at, and says how many these are.

    Args:
      path: of the PNG, which is there as a whole or not at all.
      images: `[N, H, W, C]` in [0, 1], with one channel or three.
      title: above; nothing where it is empty.
      rows: which are filled one after the other; None: as many as columns.
      names: of the rows, on their left; () for none.
    """
    from PIL import Image, ImageDraw, ImageFont

    square = int(np.sqrt(len(images)))
    rows, columns = (square, square) if rows is None else (rows, len(images) // rows)
    images = np.clip(images[: rows * columns], 0, 1)
    images = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    _, height, width, channels = images.shape
    whole = images.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    whole = whole.reshape(rows * height, columns * width, channels)
    zoom = max(1, 512 // max(whole.shape[:2]))
    pixels = np.repeat(np.repeat(np.round(whole * 255).astype(np.uint8), zoom, 0), zoom, 1)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    font = ImageFont.load_default(20)
    left, top = int(max((font.getlength(name) + 12 for name in names), default=0)), 32 * bool(title)
    if left or top:
        plain, image = image, Image.new(image.mode, (image.width + left, image.height + top), "white")
        image.paste(plain, (left, top))
        pen = ImageDraw.Draw(image)
        pen.text((6, 5), title, fill="black", font=font)
        for row, name in enumerate(names):
            pen.text((6, top + (row + 0.5) * plain.height / rows), name, fill="black", font=font, anchor="lm")
    content = io.BytesIO()
    image.save(content, "PNG")
    write_bytes(path, content.getvalue())
    return rows * columns
