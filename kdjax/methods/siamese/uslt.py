"""Clusters on top of an encoder, as many as there are labels to give: an image of each is then labelled."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from kdjax import losses
from kdjax.augment import as_float
from kdjax.core import (
    Follower,
    Frozen,
    Learner,
    Method,
    Net,
    chain,
    check_count,
    check_option,
    descent,
    example_keys,
    weighted_sum,
    weights_at,
)
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.collectives import take
from kdjax.core.start import started
from kdjax.models import linear_head


class Clusterer(NamedTuple):
    """An encoder under several heads.

    Attributes:
      learner: params and stats by `"encoder"` and `"heads"`; the stats also hold the moving means of `losses.uslt_local`, `"means"`
        `[H, K]`.
      start: the encoder as it came, which stays.
      neighbours: the rows of the images that are nearest to each by the features of `start`, `[N, n]` int32, which whoever runs the
        method brings: until then an image is its own neighbour.
      given: `{"images": Frozen}`, whose params are `{"image": [N, H, W, C]}`, all images that batches are drawn from.
      step: optimisation steps done.
    """

    learner: Learner
    start: Follower
    neighbours: jax.Array
    given: dict[str, Frozen]
    step: jax.Array


def uslt(
    encoder: Net,
    tx: optax.GradientTransformation,
    *,
    weak: Callable[[jax.Array, jax.Array], jax.Array],
    numbers: ArrayLike,
    clusters: int = 40,
    heads: int = 3,
    neighbours: int = 20,
    local: float = 5.0,
    adjustment: float = 5.0,
    temperature: float = 0.25,
    mean_momentum: float = 0.5,
    threshold: float = 0.95,
    variant: str = "mean",
    axis_name: AxisName = None,
) -> Method:
    """An image falls into the cluster of a neighbour, rare clusters raised, and surely into the one of its weak view (USL-T).

    `L = sum over heads of [losses.uslt_global(weak, strong) + local * mean_B losses.uslt_local(strong, neighbour)]`: the views are
    a strong and a weak one of the image, and a weak one of an image that is drawn among its nearest neighbours. The heads are
    linear layers on the features, which learn with the encoder. `evaluate.uslt` then chooses an image of each cluster. The encoder
    is what is shipped, with the tap `"clusters"`, logits `[B, H, K]`; beside it stands the one it began as, `"start"`.

    Args:
      encoder: image to `"pooled"`, trained without labels before.
      tx: the optimiser; the authors' is Adam of rate 1e-4.
      weak: `(key, image) -> image`, of a neighbour.
      numbers: the `"index"` `[N]` of all images in batches.
      clusters: K, as many as there are labels to give.
      heads: H.
      neighbours: n, among which one is drawn.
      local: weight of the loss of neighbours.
      adjustment: of rare clusters, as in `losses.uslt_local`.
      temperature: of its targets.
      mean_momentum: of its moving mean.
      threshold: of `losses.uslt_global`.
      variant: of the same; `"batch"` for more than a few clusters, as the authors have it on CIFAR-100 and larger sets.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, a strong and a weak one of each image, and `"index"`. Given are the images of these numbers,
      `given["images"]`, a Frozen of `{"image": [N, H, W, C]}`. Its networks are `"encoder"` and `"start"`; beside them stand the
      `"heads"`.

    Reference: Wang, Lian and Yu, Unsupervised Selective Labeling for More Effective Semi-Supervised Learning, ECCV 2022
    (arXiv 2110.03006). Their moving average of the weights, which they leave out on CIFAR, is not there.
    """
    check_count(clusters=clusters, heads=heads, neighbours=neighbours)
    known = np.asarray(numbers)
    check_option("numbers", known.shape, lambda shape: len(shape) == 1 and shape[0] > 1, "the index [N] of the training images")
    row_of = np.full(known.max() + 1, len(known), np.int32)
    row_of[known] = np.arange(len(known))
    layer = linear_head(heads * clusters)
    net = chain(encoder=encoder, heads=layer)

    def see(params, stats, images):
        taps, new = net.apply(params, {name: stats[name] for name in params}, images, train=True)
        return jnp.moveaxis(taps["logits"].reshape(len(images), heads, clusters), 1, 0), {**stats, **new}

    def init(key, batch, given, **start):
        params, stats = net.init(key, batch["views"][0])
        found = started({name: (params[name], stats[name]) for name in params}, start)
        params, stats = ({name: one[k] for name, one in found.items()} for k in (0, 1))
        stats = {**stats, "means": jnp.full((heads, clusters), 1 / clusters, jnp.float32)}
        first = Follower(jax.tree.map(jnp.copy, params["encoder"]), jax.tree.map(jnp.copy, stats["encoder"]))
        own = jnp.broadcast_to(jnp.arange(len(known), dtype=jnp.int32)[:, None], (len(known), neighbours))
        return Clusterer(Learner(params, stats, tx.init(params)), first, own, {"images": given["images"]}, jnp.int32(0))

    def drawn(state, index, key):
        """A weak view of a neighbour of each image."""
        keys = example_keys(key, index)
        near = take(state.neighbours, take(jnp.asarray(row_of), index))
        which = jax.vmap(lambda key: jax.random.randint(key, (), 0, neighbours))(keys)
        rows = jnp.take_along_axis(near, which[:, None], 1)[:, 0]
        images = as_float(take(state.given["images"].params["image"], rows))
        return jax.vmap(weak)(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys), images)

    def three_views(state, batch, key):
        return *batch["views"], drawn(state, batch["index"], key)

    def loss(params, state, images, key):
        strong, weak, near = images
        still = lax.stop_gradient(params)
        anchor, stats = see(params, state.learner.stats, strong)
        calm, stats = see(still, stats, weak)
        theirs, stats = see(still, stats, near)
        each = list(zip(anchor, calm, theirs, stats["means"], strict=True))
        options = {"adjustment": adjustment, "temperature": temperature}
        apart = {"threshold": threshold, "variant": variant, "axis_name": axis_name}
        near_by = jnp.stack([losses.uslt_local(a, n, m, **options) for a, _, n, m in each])
        sure = jnp.stack([losses.uslt_global(c, a, **apart) for a, c, _, _ in each])
        terms = {"local": jnp.sum(near_by, axis=0), "global": jnp.sum(sure)}
        means = [losses.uslt_mean(m, n, momentum=mean_momentum, axis_name=axis_name) for _, _, n, m in each]
        value, metrics = weighted_sum(terms, weights_at({"local": local}, state.step))
        return value, ({**stats, "means": jnp.stack(means)}, metrics)

    def follow(state, learner):
        return state._replace(learner=learner, step=state.step + 1), {}

    def predict(state, inputs):
        params, stats = state.learner.params, state.learner.stats
        taps, _ = encoder.apply(params["encoder"], stats["encoder"], inputs, train=False)
        found, _ = layer.apply(params["heads"], stats["heads"], taps["pooled"], train=False)
        before, _ = encoder.apply(state.start.params, state.start.stats, inputs, train=False)
        return {"encoder": {**taps, "clusters": found["logits"].reshape(-1, heads, clusters)}, "start": before}

    def weights(state):
        params, stats = state.learner.params, state.learner.stats
        found = {name: (params[name], stats[name]) for name in params}
        return {"encoder": found["encoder"], "start": (state.start.params, state.start.stats), "heads": found["heads"]}

    return descent(init, loss, follow, predict, weights, ("images",), tx=tx, rows=three_views, axis_name=axis_name)
