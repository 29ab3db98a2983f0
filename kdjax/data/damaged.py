"""Rows that cannot be decoded: named, and where the user wants it replaced."""

import numpy as np

from kdjax.core.check import InputError
from kdjax.data.source import Source

RUN = 100  # damaged rows one after the other that are not stepped over any more: then something else is wrong


class Damaged(InputError):  # noqa: N818
    """A row that cannot be decoded.

    Attributes:
      what: one line that names the file or record and says what is wrong with it.
      row: its position in the request, 0 to B - 1.
    """

    def __init__(self, what: str, row: int):
        super().__init__(f"{what}; --config.data.corrupt=skip takes the next image instead")
        self.what, self.row = what, row

    def __reduce__(self):  # or it would not come back from a process of its own
        return Damaged, (self.what, self.row)


def read_undamaged(source: Source, rows: np.ndarray, *, skip: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads rows, and where `skip` says so others in place of damaged ones.

    A row that cannot be decoded gives way to the next row of the source that can be: row + 1, row + 2, ..., after the last
    the first. Image, label and index are then those of that row.

    Args:
      source: where to read.
      rows: integers `[B]`.
      skip: whether damaged rows are replaced; if not, `Damaged` passes.

    Returns:
      `(batch, lines)`: what `source.read` gives, and one line for each damaged row that was met.

    Raises:
      Damaged: for the first damaged row, without `skip`.
      InputError: when 100 rows one after the other, or all of them, are damaged.

    >>> from kdjax.data.source import array_source
    >>> images = np.zeros((3, 1, 1, 1), np.uint8)
    >>> read_undamaged(array_source(images, np.array([5, 6, 7])), np.array([2, 0]), skip=True)[0]["label"].tolist()
    [7, 5]
    """
    try:
        return source.read(rows), []
    except Damaged:
        if not skip:
            raise
    lines: dict[int, str] = {}

    def one(row: int) -> dict[str, np.ndarray]:
        for at in range(row, row + min(RUN, source.size)):
            try:
                return source.read(np.array([at % source.size], np.int32))
            except Damaged as damaged:
                lines[at % source.size] = damaged.what
        raise nothing_sound(lines[row], min(RUN, source.size))

    batches = [one(int(row)) for row in rows]
    return {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}, list(lines.values())


def nothing_sound(what: str, count: int) -> InputError:
    """The refusal of a set in which too many rows, one after the other, are damaged.

    >>> str(nothing_sound("image a.png: cannot be decoded", 100))
    'image a.png: cannot be decoded, nor can the 99 images after it: too many to go on without them'
    """
    after = f"nor can the {count - 1} images after it" if count > 1 else "and there is no other"
    return InputError(f"{what}, {after}: too many to go on without them")


def one_row(source: Source) -> dict[str, np.ndarray]:
    """A batch of the first row that can be read; of a source without rows one of zeros, for shapes.

    >>> from kdjax.data.source import column_source
    >>> one_row(column_source({"image": np.ones((0, 1, 1, 1))}))["image"].tolist()
    [[[[0.0]]]]
    """
    if source.size:
        return read_undamaged(source, np.zeros(1, np.int32), skip=True)[0]
    return {name: np.zeros((1, *x.shape[1:]), x.dtype) for name, x in source.read(np.zeros(0, np.int32)).items()}
