"""The features that FID and KID are published in, of a net whose weights the user gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.core import InputError, Net

BLOCK = 32  # images at a time: some 10 MB of activations each


class Judge(NamedTuple):
    """A net that is asked for features of images, of another data set than theirs.

    Attributes:
      features: images `[N, H, W, C]` in [0, 1] to `[N, D]`, NumPy arrays.
      sha256: of the file that its weights come from.
    """

    features: Callable[[np.ndarray], np.ndarray]
    sha256: str


def read_inception(path: str) -> Judge | None:
    """The Inception v3 of FID with the weights of a file; None where none is given.

    Args:
      path: of the weights that `pytorch-fid` publishes, `pt_inception-2015-12-05-6726825d.pth`, or `""`.

    Raises:
      InputError: for a file that is missing, that cannot be read or that holds another net.
    """
    if not path:
        return None
    net = models.inception()
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32))
    try:
        file = models.read_weights(path)
        params, stats = models.from_pytorch("inception", file.arrays, *shapes, part=file.part)
    except InputError as error:
        wanted = "expected the Inception v3 of FID, as pytorch-fid publishes it"
        raise InputError(f"--config.inception={path} is not accepted: {error}; {wanted}") from None
    return Judge(in_blocks(net, params, stats), file.sha256)


def in_blocks(net: Net, params: Any, stats: Any, block: int = BLOCK) -> Callable[[np.ndarray], np.ndarray]:
    """Makes `images [N, H, W, C] -> features [N, D]`, the tap `"pooled"` of a net in evaluation mode, a few images at a time.

    Args:
      net: of images in [0, 1].
      params: of the net.
      stats: of the net.
      block: images at a time, at most.
    """

    @jax.jit
    def pooled(params, stats, images):
        return net.apply(params, stats, images, train=False)[0]["pooled"]

    def features(images):
        found, size = [], min(block, len(images))
        for start in range(0, len(images), size):
            rows = np.resize(np.arange(start, min(start + size, len(images))), size)  # one program serves the last block too
            found.append(np.asarray(pooled(params, stats, np.asarray(images[rows], np.float32))))
        return np.concatenate(found)[: len(images)]

    return features
