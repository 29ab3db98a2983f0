"""Any method on mixed images and labels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import InputError, Method
from kdjax.core.arrays import AxisName

_OWN = 2**30  # of the keys of a step, the one that mixes; methods number theirs from 0


def mixed(method: Method, mix: Callable[..., tuple[Any, jax.Array]], *, classes: int, axis_name: AxisName = None) -> Method:
    """The same method, each step of which sees the images and labels of its batch mixed with one another.

    Class numbers become distributions `[B, K]`, so that the method must take those: most do, what looks a label up by its number
    does not. A teacher is asked about the mixed images too. Evaluation is as it was.

    Args:
      method: of batches of `"image"` and `"label"`, all of which are labelled.
      mix: `(key, images, labels, *, axis_name) -> (inputs, labels)`: `augment.mixup`, `augment.cutmix`, or, of nets of
        `models.mixing_inside`, `augment.manifold_mixup`, or a `functools.partial` of them.
      classes: K.
      axis_name: mapped axis that holds the batch, or None; rows are then mixed over all devices.

    Raises:
      InputError: in a step, for a batch whose images are in `"views"`, and for one that holds outputs of a teacher computed before.
    """

    def seen(batch, key):
        if "views" in batch:
            raise InputError("a batch with views is not accepted: its images are mixed, and the method looks at the views")
        if "teacher" in batch:
            raise InputError("outputs of a teacher computed before are not accepted: they are of images that are not mixed")
        labels = jnp.asarray(batch["label"])
        if jnp.issubdtype(labels.dtype, jnp.integer):
            labels = jax.nn.one_hot(labels, classes)
        inputs, labels = mix(jax.random.fold_in(key, _OWN), batch["image"], labels, axis_name=axis_name)
        return {**batch, "image": inputs, "label": labels}

    def step(state, batch, key):
        return method.step(state, seen(batch, key), key)

    def loss(params, state, batch, key):
        return method.loss(params, state, seen(batch, key), key)

    return method._replace(step=step, loss=loss)
