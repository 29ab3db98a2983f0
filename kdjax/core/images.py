"""Images as networks see them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError


def as_float(image: jax.Array) -> jax.Array:
    """Pixels as float32 in [0, 1]: uint8 is divided by 255, floats only change their dtype.

    Args:
      image: any shape.

    Returns:
      The same shape, float32.

    Raises:
      InputError: for other dtypes, whose scale is not known.

    >>> as_float(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 1.0]
    """
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255.0
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(f"image of dtype {image.dtype} is not accepted: expected uint8, or floats in [0, 1]")
    return image.astype(jnp.float32)


INPUTS = ("image", "tokens", "inputs")


def inputs_of(batch: Mapping[str, Any]) -> Any:
    """What networks see of a batch: its `"image"`, else its `"tokens"`, else its `"inputs"`, any pytree.

    Raises:
      InputError: where there is none of them.

    >>> inputs_of({"tokens": jnp.arange(3), "label": jnp.zeros(3)}).tolist()
    [0, 1, 2]
    """
    for name in INPUTS:
        if name in batch:
            return batch[name]
    raise InputError(f"the batch has no image, tokens or inputs for networks to see: it has {', '.join(batch) or 'nothing'}")


def check_channels_last(image: Any) -> None:
    """Refuses images whose channels stand in front of the sides, `[B, C, H, W]`, as PyTorch has them.

    As such count shapes whose second axis is 3, or 1 beside equal sides, where the last one, 8 or more, could not be channels.

    >>> check_channels_last(jnp.zeros((2, 8, 8, 3)))
    """
    shape = jnp.shape(image)
    if len(shape) == 4 and shape[3] >= 8 and shape[2] >= 8 and (shape[1] == 3 or (shape[1] == 1 and shape[2] == shape[3])):
        raise InputError(f"images of shape {shape} are not accepted: expected [B, H, W, C], as x.transpose(0, 2, 3, 1) gives them")


def inputs_as_float(inputs: Any) -> Any:
    """The inputs of a network, any pytree: pixels in bytes become what `as_float` makes of them, all else passes.

    Args:
      inputs: uint8 arrays are images, and so are other arrays of whole numbers with four axes or more, `[B, H, W, C]`, which are
        refused. Floats keep their dtype; whole numbers of fewer axes are tokens.

    Raises:
      InputError: for images in whole numbers other than uint8.

    >>> inputs_as_float({"image": jnp.full((1, 2, 2, 1), 255, jnp.uint8), "tokens": jnp.arange(3)})["tokens"].tolist()
    [0, 1, 2]
    """

    def one(x):
        dtype = getattr(x, "dtype", None)
        if dtype is None or not (dtype == jnp.uint8 or jnp.ndim(x) >= 4) or jnp.issubdtype(dtype, jnp.inexact):
            return x
        return as_float(x)

    return jax.tree.map(one, inputs)
