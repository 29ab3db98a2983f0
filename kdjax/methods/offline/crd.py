"""Contrastive representation distillation."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.core import Net, check_option
from kdjax.core.arrays import ArrayLike, Weight
from kdjax.core.collectives import take
from kdjax.methods.recipes import Objective, method_of, tap
from kdjax.models import fan_in_bias, fan_in_uniform

SIDES = ("student", "teacher")


def crd_objective(
    *,
    labels: ArrayLike,
    numbers: ArrayLike | None = None,
    weight: Weight = 0.8,
    temperature: float = 0.07,
    negatives: int = 16384,
    width: int = 128,
    momentum: float = 0.5,
    positive: Literal["exact", "relax"] = "exact",
) -> Objective:
    """Tells, in a bank of all training images, the same image from images of other classes.

    Both networks' features pass a linear layer of their own to length 1; each is the anchor once against the other's bank. `L_x`
    is the noise-contrastive `losses.crd`, summed over negatives, its mean over the batch. The two normalisers are set by the first
    batch; after each step the batch's rows of both banks move half way.

    Args:
      labels: class numbers `[N]` of all training images; an image without a label (below 0) is a class of its own.
      numbers: the `"index"` `[N]` of these images in batches, 0 or more; None: 0 to N - 1.
      weight: factor of the term.
      temperature: T, above 0.
      negatives: K, bank rows of other classes for each image.
      width: of the embeddings.
      momentum: of the banks.
      positive: `"exact"`, the image itself, or `"relax"`, any image of its class.

    Reference: Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020 (arXiv 1910.10699).
    """
    known = np.asarray(labels)
    check_option("labels", known.shape, lambda shape: len(shape) == 1 and shape[0] > 1, "class numbers [N] of the training images")
    check_option("width", width, lambda n: n >= 1, "1 or more")
    classes = jnp.asarray(np.where(known < 0, -1 - np.arange(len(known)), known), jnp.int32)
    numbers = np.arange(len(classes)) if numbers is None else np.asarray(numbers)
    row_of = np.full(numbers.max() + 1, -1, np.int32)
    row_of[numbers] = np.arange(len(classes))

    def init(key, seen):
        keys = jax.random.split(key, 4)
        inputs = {side: tap(side, getattr(seen, side), "pooled").shape[1] for side in SIDES}
        params = {}
        for k, side in zip(keys, SIDES, strict=False):
            bias = fan_in_bias(inputs[side])(jax.random.fold_in(k, 1), (width,))
            params[side] = {"kernel": fan_in_uniform(k, (inputs[side], width)), "bias": bias}
        banks = {side: losses.crd_bank(k, rows=len(classes), width=width) for k, side in zip(keys[2:], SIDES, strict=True)}
        return params, {"banks": banks, "constants": -jnp.ones(2)}

    def apply(params, stats, seen, *, train, key=None):
        index, axis = take(jnp.asarray(row_of), seen.batch["index"]), seen.axis_name
        sides = {side: getattr(seen, side)["pooled"] @ params[side]["kernel"] + params[side]["bias"][None] for side in SIDES}
        both = sides["student"], sides["teacher"], stats["banks"]["student"], stats["banks"]["teacher"]
        contrast = losses.crd_contrast(seen.key, index, classes, negatives=negatives, positive=positive)
        constants = losses.crd_constants(*both, contrast, stats["constants"], temperature=temperature, axis_name=axis)
        banks = {s: losses.crd_update(stats["banks"][s], sides[s], index, momentum=momentum, axis_name=axis) for s in SIDES}
        # A scalar: slices of an accumulated batch would each move the banks on their own.
        term = jnp.mean(losses.crd(*both, contrast, constants, temperature=temperature))
        return {"contrast": term}, {"banks": banks, "constants": constants}

    def terms(seen, adapted):
        return adapted

    return Objective(terms, {"contrast": weight}, Net(init, apply))


crd = method_of(crd_objective, columns=("image", "label", "index"))
