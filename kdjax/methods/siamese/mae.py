"""Masked autoencoders."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Learner, Method, Net, check_count, check_option, descent, row_keys
from kdjax.core.arrays import AxisName
from kdjax.core.images import inputs_of
from kdjax.core.start import started


class Masked(NamedTuple):
    """An encoder and a decoder that learn together.

    Attributes:
      learner: of both, by name.
      step: optimisation steps done.
    """

    learner: Learner
    step: jax.Array


def mae(
    encoder: Net,
    decoder: Net,
    tx: optax.GradientTransformation,
    *,
    patch: int,
    mask: float = 0.75,
    normalise: bool = True,
    axis_name: AxisName = None,
) -> Method:
    """A transformer sees a few patches of an image, and a small one makes the pixels of the others from what it found.

    `L = losses.masked_patches(pixels, image, hidden)`: the mean squared error over hidden patches, each less its mean and divided
    by its deviation. Which patches are hidden is drawn anew for every image and step. There is one view: the first of a batch's
    `"views"`, else its `"image"`. The encoder is what is shipped, on whole images.

    Args:
      encoder: a transformer of `models.vit`.
      decoder: of `models.patch_decoder`, with the encoder's patches.
      tx: the optimiser; the paper's is AdamW.
      patch: side of a patch in pixels, as the encoder has it.
      mask: share of the patches that are hidden.
      normalise: whether pixels of a patch are compared without its mean and deviation; False for the pixels themselves.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"image"` or `"views"`. Its network is `"encoder"`; beside it stands `"decoder"`.

    Differs from the authors' code in what is compared: pixels in [0, 1], not those that an input normalisation has made of them.

    Reference: He, Chen, Xie, Li, Dollar and Girshick, Masked Autoencoders Are Scalable Vision Learners, CVPR 2022 (arXiv
    2111.06377).
    """
    check_count(patch=patch)
    check_option("mask", mask, lambda share: 0 < share < 1, "a number above 0 and below 1")

    def init(key, batch, given, **start):
        images, (first, second) = _images(batch), jax.random.split(key)
        params, stats = encoder.init(first, images)
        places = _places(key, images, patch, axis_name)
        seen = jax.eval_shape(lambda: _seen(encoder, params, stats, images, places, _count(places, mask), key)[0])
        more = decoder.init(second, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), seen))
        found = started({"encoder": (params, stats), "decoder": more}, start)
        params, stats = ({name: one[k] for name, one in found.items()} for k in (0, 1))
        return Masked(Learner(params, stats, tx.init(params)), jnp.int32(0))

    def loss(params, state, images, key):
        stats = state.learner.stats
        places = _places(jax.random.fold_in(key, 1), images, patch, axis_name)
        count, keys = _count(places, mask), jax.random.split(key)
        seen, first = _seen(encoder, params["encoder"], stats["encoder"], images, places, count, keys[0])
        found, second = decoder.apply(params["decoder"], stats["decoder"], seen, train=True, key=keys[1])
        hidden = places.reshape(len(places), -1) >= count
        value = losses.masked_patches(found["pixels"], images, hidden, patch=patch, normalise=normalise, axis_name=axis_name)
        return value, ({"encoder": first, "decoder": second}, {"reconstruction": value})

    def follow(state, learner):
        return Masked(learner, state.step + 1), {}

    def predict(state, inputs):
        params, stats = state.learner.params["encoder"], state.learner.stats["encoder"]
        return {"encoder": encoder.apply(params, stats, inputs, train=False)[0]}

    def weights_of(state):
        return {name: (state.learner.params[name], state.learner.stats[name]) for name in ("encoder", "decoder")}

    rows = lambda state, batch, key: _images(batch)  # noqa: E731
    return descent(init, loss, follow, predict, weights_of, tx=tx, rows=rows, axis_name=axis_name)


def _images(batch: Any) -> jax.Array:
    return batch["views"][0] if "views" in batch else inputs_of(batch)


def _places(key: jax.Array, images: jax.Array, patch: int, axis_name: AxisName) -> jax.Array:
    """Where each patch stands in a random order of its image's patches, `[B, rows, columns]`."""
    rows, height, width = images.shape[:3]
    if height % patch or width % patch:
        raise InputError(f"patch={patch} is not accepted: expected a divisor of the sides of images, {height} and {width}")
    down, across = height // patch, width // patch
    order = jax.vmap(lambda k: jax.random.permutation(k, down * across))(row_keys(key, rows, axis_name))
    return order.reshape(rows, down, across)


def _count(places: jax.Array, mask: float) -> int:
    """How many patches of an image are seen."""
    patches = places.shape[1] * places.shape[2]
    count = int(patches * (1 - mask) + 1e-6)
    check_option("mask", mask, lambda share: 0 < count < patches, f"some of the {patches} patches to be seen, and some hidden")
    return count


def _seen(
    encoder: Net, params: Any, stats: Any, images: jax.Array, places: jax.Array, count: int, key: jax.Array
) -> tuple[dict[str, jax.Array], Any]:
    """What the decoder sees of the patches that the encoder does, and the encoder's new statistics."""
    kept = jnp.argsort(places.reshape(len(places), -1), 1)[:, :count]
    taps, stats = encoder.apply(params, stats, {"image": images, "kept": kept}, train=True, key=key)
    return {"front": taps["cls"][:, None], "seen": taps["patches"], "places": places}, stats
