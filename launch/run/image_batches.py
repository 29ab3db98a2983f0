"""The images that an analysis looks at, and the networks that look at them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import augment, data
from kdjax.core import InputError, Net

BATCH = 256  # images a pass

Batches = list[dict[str, Any]]
Weights = tuple[Net, Any, Any]  # net, params, stats


def draw(source: data.Source, images: int, config: Any) -> Batches:
    """Batches of one size, of rows drawn from a source."""
    rows = np.random.default_rng(0).permutation(source.size)[:images].astype(np.int32)
    size = len(rows) // -(-len(rows) // BATCH)
    parts = [np.sort(rows[i : i + size]) for i in range(0, len(rows) - size + 1, size)]
    read = (data.read_undamaged(source, part, skip=config.data.corrupt == "skip")[0] for part in parts)
    return [{name: batch[name] for name in ("image", "label") if name in batch} for batch in read]


def count(batches: Batches) -> int:
    """How many images there are."""
    return sum(len(batch["image"]) for batch in batches)


def foreign(name: str, dataset: data.Dataset, images: int, config: Any) -> Batches:
    """Images of another set, in the size and the channels of a data set: grey ones three times, coloured ones as greys.

    Raises:
      InputError: for a set without images, or of other channels.
    """
    height, width, channels = dataset.shape
    found = data.load(name, directory=config.data.dir)
    if found.shape[:2] != (height, width):
        if height != width:
            raise InputError(f"--foreign={name} is not accepted: its images are not {height}x{width}, and squares alone are cut")
        found = data.load(name, directory=config.data.dir, image_size=height)
    there, rows = found.shape[-1], found.test if found.test.size else found.train
    if not rows.size or there not in (1, channels, *((3,) if channels == 1 else ())):
        raise InputError(f"--foreign={name} is not accepted: it has {rows.size} images of {there} channels, the run {channels}")

    def fitted(image):
        if there == channels:
            return image
        if there == 1:
            return np.repeat(image, channels, axis=-1)
        return jax.vmap(augment.to_grey)(augment.as_float(jnp.asarray(image)))[..., :1]

    return [{"image": fitted(batch["image"])} for batch in draw(rows, images, config)]


def noise(dataset: data.Dataset, like: Batches) -> dict[str, Batches]:
    """As many images of noise: uniform, and normal with mean 1/2 and deviation 1, cut to [0, 1]."""
    random = np.random.default_rng(0)
    sizes = [(len(batch["image"]), *dataset.shape) for batch in like]
    return {
        "uniform_noise": [{"image": random.random(size, np.float32)} for size in sizes],
        "normal_noise": [{"image": np.clip(random.normal(0.5, 1.0, size), 0, 1).astype(np.float32)} for size in sizes],
    }
