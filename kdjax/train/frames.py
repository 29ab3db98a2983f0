"""Images on the way: what a stage makes at some of its evaluations, in files until the stage is finished."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.core.files import refusing, remove, write_bytes
from kdjax.train.run import Run
from kdjax.train.stage import Stage

FRAMES = 10  # evaluations at most


def is_shown(stage: Stage, step: int) -> bool:
    """Whether images are kept at an evaluation: at each, or of more than ten at as many, evenly apart, the last among them.

    Args:
      stage: whose.
      step: at which it is evaluated.
    """
    total, number = (-(-n // stage.pace.evaluate) for n in (stage.steps, step))
    return number * FRAMES // total > (number - 1) * FRAMES // total


def folder_of(run: Run, name: str) -> Path:
    """Where the images of a stage are until it is finished."""
    return run.folder / "checkpoints" / f"{name}.frames"


def cut(folder: Path, step: int) -> None:
    """Removes the images of later steps than that at which a stage begins or goes on."""
    for file in _files(folder):
        if int(file.stem) > step:
            remove(file)


def add(folder: Path, step: int, images: np.ndarray) -> None:
    """Keeps the images of an evaluation.

    Args:
      folder: of the stage; it is made where there is none.
      step: of the evaluation.
      images: `[N, H, W, C]` in [0, 1]; what is no number becomes black.

    Raises:
      InputError: where they cannot be written.
    """
    content = io.BytesIO()
    np.save(content, np.round(255 * np.clip(np.nan_to_num(images, nan=0.0), 0, 1)).astype(np.uint8))
    with refusing(f"folder {folder} of images"):
        folder.mkdir(exist_ok=True)
        write_bytes(folder / f"{step:09d}.npy", content.getvalue())


def read(folder: Path) -> dict[str, Any] | None:
    """All that were kept, `{"steps": int32 [T], "images": uint8 [T, N, H, W, C]}`; None where there are none.

    A file that is damaged, or holds others than the last one, is left out.
    """
    found = {int(file.stem): images for file in _files(folder) if (images := _load(file)) is not None}
    if not found:
        return None
    last = found[max(found)]
    found = {step: images for step, images in found.items() if images.shape == last.shape}
    return {"steps": np.array(list(found), np.int32), "images": np.stack(list(found.values()))}


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.npy") if file.stem.isdecimal())


def _load(file: Path) -> np.ndarray | None:
    try:
        images = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.dtype == np.uint8 and images.ndim == 4 else None
