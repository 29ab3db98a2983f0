"""From the name of a data source to a Dataset."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kdjax.core.check import InputError, check_option, nearest
from kdjax.data.digits import read_digits
from kdjax.data.folder import read_folder
from kdjax.data.npz import read_npz
from kdjax.data.resize import resize_crop
from kdjax.data.sampler import VAL_SPLIT
from kdjax.data.source import Arrays, Dataset, array_source, digest
from kdjax.data.split import stratified


class _Kind(NamedTuple):
    form: str
    read: Callable[[str, int | None], Arrays]


_KINDS = {
    "digits": _Kind("digits", lambda rest, size: _resized(read_digits(rest), size)),
    "npz": _Kind("npz:<path>", lambda rest, size: _resized(read_npz(rest), size)),
    "folder": _Kind("folder:<dir>", read_folder),
}


def load(source: str, *, val_fraction: float = 0.0, seed: int = 0, image_size: int | None = None) -> Dataset:
    """Reads a data set into memory, as uint8.

    Args:
      source: `digits`, `npz:<path>` or `folder:<dir>`; see `read_digits`, `read_npz` and `read_folder`.
      val_fraction: the part of each training class that becomes the validation set, 0 or more and below 1. The order of
        the other training rows stays as it was.
      seed: the seed of the validation split. Test splits do not follow it.
      image_size: the side, in pixels, to which every image is brought: shorter side resized, centre cut out. None
        leaves the images as they are.

    Returns:
      A Dataset. Without `val_fraction` its `val` is None.

    Raises:
      InputError: one line that names the source, what was found in it and what is accepted.

    >>> digits = load("digits", val_fraction=0.1)
    >>> digits.train.size, digits.val.size, digits.test.size, digits.shape
    (1211, 136, 450, (8, 8, 1))
    """
    kind, _, rest = source.partition(":")
    if kind not in _KINDS:
        forms = ", ".join(_KINDS[name].form for name in nearest(kind, _KINDS).split(", "))
        raise InputError(f"data source {source!r} is not known; accepted: {forms}")
    check_option("val_fraction", val_fraction, lambda f: 0 <= f < 1, "0 or more and below 1")
    if image_size is not None:
        whole = isinstance(image_size, int | np.integer) and not isinstance(image_size, bool)
        check_option("image_size", image_size, lambda s: whole and s >= 1, "a whole number of pixels, 1 or more")
    return _dataset(source, _KINDS[kind].read(rest, image_size), val_fraction, seed)


def _dataset(source: str, arrays: Arrays, val_fraction: float, seed: int) -> Dataset:
    images, labels = arrays.train_images, arrays.train_labels
    train, val = array_source(images, labels), None
    if val_fraction > 0:
        try:
            kept, cut = stratified(labels, val_fraction, seed=seed, stream=VAL_SPLIT, names=arrays.names)
        except InputError as error:
            raise InputError(f"data source {source!r}, val_fraction={val_fraction}: {error}") from None
        train, val = array_source(images, labels, kept), array_source(images, labels, cut)
    height, width, channels = images.shape[1:]
    return Dataset(
        train=train,
        val=val,
        test=array_source(arrays.test_images, arrays.test_labels),
        classes=len(arrays.names),
        shape=(height, width, channels),
        names=arrays.names,
        digest=digest(arrays),
    )


def _resized(arrays: Arrays, size: int | None) -> Arrays:
    if size is None:
        return arrays
    train, test = (np.stack([resize_crop(x, size) for x in part]) for part in (arrays.train_images, arrays.test_images))
    return arrays._replace(train_images=train, test_images=test)


FORMS = tuple(kind.form for kind in _KINDS.values())  # what `load` takes, for messages and lists
