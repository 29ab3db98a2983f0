"""Handwritten digits that come with scikit-learn: the default set, without any file or network."""

import numpy as np

from kdjax.core.check import InputError
from kdjax.core.extra import extra
from kdjax.data.sampler import TEST_SPLIT
from kdjax.data.source import Arrays
from kdjax.data.split import stratified


def read_digits(rest: str = "") -> Arrays:
    """The 1,797 digits of scikit-learn, 8 x 8 grey.

    Pixel values 0 to 16 become `round(value * 255 / 16)`. The set has no official split: a quarter of each class, drawn
    with the fixed seed 0 whatever the seed of the run, is the test set (1,347 images to train, 450 to test).

    Args:
      rest: what followed the name; nothing is accepted.

    Returns:
      Arrays with images `[N, 8, 8, 1]` and the names "0" to "9".

    Raises:
      InputError: when something follows the name.

    >>> read_digits().train["image"].shape
    (1347, 8, 8, 1)
    """
    if rest:
        raise InputError(f"data source 'digits:{rest}' is not known; accepted: digits")
    with extra("run"):
        from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    train, test = stratified(labels, 0.25, seed=0, stream=TEST_SPLIT)
    learnt, tested = ({"image": images[rows], "label": labels[rows]} for rows in (train, test))
    return Arrays(learnt, tested, tuple("0123456789"))
