"""The specification of a net for a data set."""

from functools import lru_cache
from typing import Any

import numpy as np

from kdjax import data
from kdjax.core import InputError, check_option
from kdjax.experiment.config import Config, plain


def net_specification(
    section: Config, dataset: data.Dataset, config: Config, *, normalised: dict[str, list[float]] | None = None, **more: Any
) -> dict:
    """The specification of a net for this data: classes, normalisation as the data section has it, precision.

    Args:
      section: of the net.
      dataset: the data.
      config: whole.
      normalised: the mean and standard deviation where the data section gives none; None: measured on training images.
      **more: further fields.

    Raises:
      InputError: for data that are no images.
    """
    if len(dataset.shape) < 3:
        raise InputError(f"--config.data.source={config.data.source} has texts: expected images")
    given = given_normalisation(config.data, "data.", dataset)
    normalised = given or (_measured(dataset) if normalised is None else normalised)
    return {"classes": dataset.classes, "dtype": config.precision, **normalised, **more, **plain(section)}


def given_normalisation(section: Config, above: str, dataset: data.Dataset) -> dict[str, list[float]]:
    """The mean and standard deviation that a section gives, a number a channel each; `{}` where it leaves them ().

    Args:
      section: with the fields `mean` and `std`.
      above: what their flags begin with, behind `--config.`: `"data."`, `"teacher_"`.
      dataset: for its channels.
    """
    channels, mean, std = dataset.shape[-1], list(section.get("mean", ())), list(section.get("std", ()))
    if not mean and not std:
        return {}
    names, alike = f"{above}mean and in {above}std", len(mean) == len(std) == channels
    accepted = f"a number for each of the {channels} channel{'s' * (channels > 1)} in {names}, or () in both"
    check_option(f"--config.{above}mean", tuple(mean), lambda mean: alike and np.isfinite(mean).all(), accepted)
    check_option(f"--config.{above}std", tuple(std), lambda std: all(0 < x < np.inf for x in std), "numbers above 0")
    return {"mean": mean, "std": std}


@lru_cache(maxsize=1)
def _measured(dataset: data.Dataset) -> dict[str, list[float]]:
    """Mean and standard deviation a channel of the training images, see `data.channel_moments`."""
    mean, std = data.channel_moments(dataset.train)
    return {"mean": np.round(mean, 4).tolist(), "std": np.maximum(np.round(std, 4), 1e-3).tolist()}
