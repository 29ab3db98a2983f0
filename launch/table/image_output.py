"""Images as files: on a grid, one by one in a folder, or as arrays."""

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.core import InputError
from kdjax.core.files import whole_folder, write_bytes
from kdjax.core.paths import user_path
from kdjax.data.packing import check_target
from launch.run import cli
from launch.table.images import grid

TO_TEST = 5  # of so many images with labels in an npz file, one is to test


class Output(NamedTuple):
    """Where images go.

    Attributes:
      place: the file, or the folder.
      form: "png", "npz" or "folder".
    """

    place: Path
    form: str


def output_of(text: str) -> Output:
    """What `--out` names, refused before any work where it cannot be written.

    Raises:
      InputError: for a name of another kind, a folder that holds something, and a place that is not there.
    """
    if text.endswith(("/", os.sep)):
        check_target(folder := user_path(text).absolute())
        return Output(folder, "folder")
    place = cli.file_to_write("--out", text)
    if place is None or place.suffix not in (".png", ".npz"):
        wanted = "expected a name that ends in .png or .npz, or that of a folder with a / at its end"
        raise InputError(f"--out={text} is not accepted: {wanted}")
    return Output(place, place.suffix[1:])


def check_output(output: Output, count: int, channels: int, classes: int | None) -> None:
    """Refuses images that a form cannot hold.

    Args:
      output: where they go.
      count: how many.
      channels: of each.
      classes: that are asked for in turn; None: no labels are told.
    """
    if output.form != "npz" and channels not in (1, 3):
        raise InputError(
            f"--out={output.place} is not accepted: images have {channels} channels; expected a name that ends in .npz"
        )
    if output.form == "npz" and classes and count - _to_test(count) < classes:
        least = next(n for n in range(classes, 2 * classes + 2) if n - _to_test(n) >= classes)
        raise InputError(f"--count={count} is not accepted: of {classes} classes an npz file holds {least} images or more")


def write(output: Output, images: np.ndarray, labels: np.ndarray | None = None, rows: int | None = None) -> str:
    """Writes images whole or not at all, and says in words what is there.

    A folder holds `0000.png`, ... or, with labels, `<label>/0000.png`, as `folder:` reads them. An npz file holds uint8
    `train_images` `[N, H, W, C]` and, with labels, int32 `train_labels` and the last fifth as `test_images` and `test_labels`, as
    `npz:` reads them. Images outside [0, 1] are clipped.

    Args:
      output: as `output_of` gives it.
      images: `[N, H, W, C]`.
      labels: `[N]`, or None.
      rows: of a grid, which is filled row by row; None: a square of as many as fill it.
    """
    size = " x ".join(map(str, images.shape[1:]))
    if output.form == "png":
        return f"{grid(output.place, images, rows=rows)} images of {size}"
    pixels = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
    if output.form == "npz":
        write_bytes(output.place, _npz(pixels, labels))
    else:
        _write_folder(output.place, pixels, labels)
    return f"{len(images)} images of {size}"


def _to_test(count: int) -> int:
    return max(1, count // TO_TEST)


def _npz(pixels: np.ndarray, labels: np.ndarray | None) -> bytes:
    arrays: dict[str, Any] = {"train_images": pixels}
    if labels is not None:
        cut = len(pixels) - _to_test(len(pixels))
        arrays = {"train_images": pixels[:cut], "train_labels": labels[:cut].astype(np.int32)}
        arrays |= {"test_images": pixels[cut:], "test_labels": labels[cut:].astype(np.int32)}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def _write_folder(place: Path, pixels: np.ndarray, labels: np.ndarray | None) -> None:
    from PIL import Image

    width = len(str(max(labels))) if labels is not None else 0  # names of classes are read in the order of the alphabet
    with whole_folder(place) as folder:
        for number, image in enumerate(pixels):
            inside = folder / f"{labels[number]:0{width}d}" if labels is not None else folder
            inside.mkdir(exist_ok=True)
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(inside / f"{number:04d}.png")
