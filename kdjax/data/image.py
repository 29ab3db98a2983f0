"""Image files and encoded images, decoded with Pillow."""

import io
import math
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.extra import extra
from kdjax.core.memory import check_memory
from kdjax.core.plain import open_plain
from kdjax.data.damaged import Damaged
from kdjax.data.resize import resize_crop

LARGE = 2**28  # bytes of images: more are held against the memory there is before they are asked for
BITS_PER_SAMPLE = 258  # the number of a TIFF tag
ORIENTATION = 274  # likewise, in EXIF
TURNS = {  # of Pillow's, by the value of that tag; 1 is upright
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
TYPES = (
    ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif",
    ".tiff", ".webp",
)  # fmt: skip


def decode(image: str | Path | bytes, name: str = "", row: int = 0, *, exif_orientation: bool = False) -> np.ndarray:
    """One image as 8-bit grey or RGB.

    Grey stays grey; palettes and other colours become RGB. Of an animation the first frame is read. Transparency is
    dropped. The orientation tag of cameras is applied where that is asked for; in TIFF files Pillow always applies it.

    Args:
      image: a file, or its bytes.
      name: what messages call it; default `image <file>`.
      row: its position in a request, for `Damaged`.
      exif_orientation: whether the image is turned as its EXIF orientation says. A tag that cannot be read counts as none.

    Returns:
      uint8 `[H, W, 1]` if it is grey and `[H, W, 3]` if not.

    Raises:
      Damaged: when it cannot be decoded.
      InputError: when it has more than 8 bits a channel, or may not be read.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4, 2)).save(file, "PNG")
    >>> decode(file.getvalue()).shape
    (2, 4, 3)
    """
    with extra("run"):
        from PIL import Image

    with _opened(image, name, row) as opened:
        turn = TURNS.get(_orientation(opened)) if exif_orientation else None
        # A palette with transparency goes to RGB by way of RGBA, or Pillow warns.
        plain = opened.convert("RGBA") if opened.mode == "P" else opened
        plain = plain.convert("L" if _is_grey(opened.mode) else "RGB")
        pixels = np.array(plain.transpose(Image.Transpose[turn]) if turn else plain)
        return pixels[..., None] if pixels.ndim == 2 else pixels


def header(image: str | Path | bytes, name: str = "", *, exif_orientation: bool = False) -> tuple[int, int, int]:
    """Height, width and channels (1 or 3) of an image, as `decode` gives it, from its first bytes.

    With `exif_orientation` a PNG is read whole: the tag may stand behind its pixels.

    Raises:
      Damaged, InputError: as in `decode`, but a damage further on is not seen.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (4, 2)).save(file, "PNG")
    >>> header(file.getvalue())
    (2, 4, 1)
    """
    with _opened(image, name, 0) as opened:
        height, width = opened.height, opened.width
        if exif_orientation and _orientation(opened) >= 5:  # on its side
            height, width = width, height
        return height, width, 1 if _is_grey(opened.mode) else 3


def fit(
    image: np.ndarray, shape: tuple[int, int, int], image_size: int | None, name: str, *, others: str, colour: str = ""
) -> np.ndarray:
    """A decoded image as a set wants it: resized where that is asked for, and with one or as many channels as `shape`.

    Args:
      image: uint8 `[H, W, C]`.
      shape: that of the set.
      image_size: the side to which images are brought, or None.
      name: what messages call the image.
      others: what messages call that which gave `shape`.
      colour: what to do about a colour image in a grey set.

    Raises:
      InputError: when the image has another size, or is in colour and the set is grey.

    >>> fit(np.zeros((4, 8, 1), np.uint8), (2, 2, 3), 2, "image a.png", others="the others").shape
    (2, 2, 1)
    """
    height, width, channels = shape
    image = image if image_size is None else resize_crop(image, image_size)
    if image.shape[:2] != (height, width):
        raise InputError(
            f"{name}: is {image.shape[0]}x{image.shape[1]}, unlike {others}, {height}x{width} (height x width): "
            "expected one size, or --config.data.image_size=<pixels> to resize and crop all"
        )
    if image.shape[2] > channels:
        raise InputError(f"{name}: is in colour, unlike {others}: expected grey images{colour}")
    return image


def unfilled(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Room for some images, uint8 `[count, H, W, C]`.

    Raises:
      InputError: when it is more than the memory there is.

    >>> unfilled(2, (4, 4, 1)).shape
    (2, 4, 4, 1)
    """
    if (needed := max(count, 1) * math.prod(shape)) > LARGE:  # no row of an absurd size is one too many for NumPy
        check_memory(f"{count:,} images of {in_words(shape)}", needed, "smaller ones (--config.data.image_size) or fewer at a time")
    return np.empty((count, *shape), np.uint8)


def in_words(shape: Sequence[int]) -> str:
    """The shape of an image as messages tell it.

    >>> in_words((28, 28, 1))
    '28x28x1'
    """
    return "x".join(map(str, shape))


def _is_deep(opened: Any) -> bool:
    """Whether a file has more than 8 bits a channel. Pillow says so of grey ones by their mode; of colours it cuts 8 bits off."""
    if opened.mode[0] in "IF":
        return True
    for codec, _, _, args in opened.tile:
        words = args if isinstance(args, tuple) and args else (args,)
        first, last = str(words[0]), words[-1]
        if ";16" in first and not first.startswith("BGR"):  # "BGR;16" has 16 bits a pixel
            return True
        if codec.startswith("ppm") and isinstance(last, int) and last > 255:
            return True
    return max(getattr(opened, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8


def _is_grey(mode: str) -> bool:
    return mode in ("1", "L", "LA")


def _orientation(opened: Any) -> int:
    """How an image is to be turned, a number of `TURNS`; 1 where it is upright, or nothing readable tells."""
    if opened.format == "TIFF":  # Pillow turns it by itself
        return 1
    if opened.format == "PNG":
        opened.load()  # damaged pixels are told as such
    try:
        found = opened.getexif().get(ORIENTATION)
    except (struct.error, SyntaxError, ValueError, TypeError, LookupError, OverflowError, OSError):
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


@contextmanager
def _opened(image: str | Path | bytes, name: str, row: int) -> Iterator:
    """The image opened by Pillow, all its errors told in one line."""
    with extra("run"):
        from PIL import Image

    name = name or f"image {image}"
    try:
        with io.BytesIO(image) if isinstance(image, bytes) else open_plain(image) as file, Image.open(file) as opened:
            if _is_deep(opened):
                raise InputError(f"{name}: has more than 8 bits a channel, of which Pillow would cut the rest: expected 8 bits")
            yield opened
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{name}: no permission to read it") from None
    except FileNotFoundError:
        raise Damaged(f"{name}: is no longer there", row) from None
    except Image.DecompressionBombError as error:
        pixels = " ".join(str(error).split()).partition(",")[0]  # "Image size (400000000 pixels) exceeds limit of ..."
        raise Damaged(f"{name}: is not decoded ({pixels}); expected a smaller image", row) from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        code = getattr(error, "strerror", None)  # of the file system; Pillow's own errors have none
        why = f"read ({code})" if code else "decoded, the file is damaged or no image"
        raise Damaged(f"{name}: cannot be {why}", row) from None
