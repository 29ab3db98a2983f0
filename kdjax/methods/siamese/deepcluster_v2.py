"""Clusters of the last epoch's embeddings as classes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import losses
from kdjax.core import (
    InputError,
    Method,
    Net,
    check_count,
    check_option,
    check_positive,
    gather_replicated,
    spherical_k_means,
    unit,
)
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.collectives import take
from kdjax.methods.recipes import views


class Clusters(NamedTuple):
    """What an epoch learns from, and what the next one will.

    Attributes:
      centroids: of every head, `[H, K, D]`.
      assignments: the cluster of every image, `[H, N]` int32; -1: none.
      bank: the newest embeddings of each of the two large views, `[2, N, D]`.
      seen: which images they are of, bool `[N]`: those since the last clustering.
    """

    centroids: jax.Array
    assignments: jax.Array
    bank: jax.Array
    seen: jax.Array


def deepcluster_v2(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    numbers: ArrayLike,
    prototypes: int = 3000,
    heads: int = 3,
    temperature: float = 0.1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """All views of an image are classified into the cluster that its embedding of the last epoch lies in.

    `L = mean over heads of losses.deepcluster(cos(z, c), assignments)`. The centroids are the classifier and do not learn. The
    embeddings of the first two views, which are the large ones, are kept; `refresh_clusters` clusters them, at the start and behind
    each epoch, and until then there is no loss. More views of any size may follow. Views of one size pass the encoder as one batch,
    and all views the projector. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      tx: the optimiser; the paper's is LARS.
      numbers: the `"index"` `[N]` of all training images in batches.
      prototypes: clusters of each head.
      heads: how often the images are clustered: those of the two views in turn, from other first centroids.
      temperature: of the cosines.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image, and `"index"`; a probe asks for `"label"`. Its network is
      `"encoder"`; beside it stands `"projector"`.

    Reference: Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, Unsupervised Learning of Visual Features by Contrasting Cluster
    Assignments, NeurIPS 2020 (arXiv 2006.09882); Caron, Bojanowski, Joulin and Douze, Deep Clustering for Unsupervised Learning of
    Visual Features, ECCV 2018 (arXiv 1807.05520).
    """
    row_of = _row_of(numbers)
    rows = len(np.asarray(numbers))
    check_option("prototypes", prototypes, lambda k: 1 <= k <= rows, f"1 to {rows}, the number of images")
    check_count(heads=heads)
    check_positive(temperature=temperature)

    def objective(outputs):
        past, axis = outputs.memory, outputs.axis_name
        place = take(jnp.asarray(row_of), outputs.batch["index"])
        z = [unit(taps["embedding"]) for taps in outputs.online]
        scores = jnp.einsum("vbd,hkd->hvbk", jnp.stack(z), past.centroids)
        each = [
            losses.deepcluster(s, take(a, place), temperature=temperature, axis_name=axis)
            for s, a in zip(scores, past.assignments, strict=True)
        ]
        places = gather_replicated(place, axis)
        bank = past.bank.at[:, places].set(jnp.stack([gather_replicated(x, axis) for x in z[:2]]))
        return {"deepcluster": sum(each) / heads}, past._replace(bank=bank, seen=past.seen.at[places].set(True))

    def memory(key, outputs):
        width = outputs.online[0]["embedding"].shape[1]
        return Clusters(
            unit(jax.random.normal(key, (heads, prototypes, width))),
            jnp.full((heads, rows), -1, jnp.int32),
            jnp.zeros((2, rows, width)),
            jnp.zeros(rows, bool),
        )

    nets = {"encoder": encoder, "projector": projector}
    return views(nets, tx, objective, together=True, memory=memory, probe=probe, axis_name=axis_name)


def refresh_clusters(projector: Net, *, numbers: ArrayLike, iterations: int = 10) -> Callable[..., Any]:
    """The `refresh` of a stage of `deepcluster_v2`, for every epoch.

    At the start, and wherever no step has been since the last time, the bank is filled by one pass over the images as they are,
    with running statistics. Images that no step has seen since, as those that an epoch drops at its end, get no cluster.

    Args:
      projector: as in `deepcluster_v2`.
      numbers: as in `deepcluster_v2`.
      iterations: of k-means.

    Returns:
      `(collect, state, step, key) -> state`.
    """
    row_of = _row_of(numbers)

    @jax.jit
    def embeddings(params, stats, pooled):
        return unit(projector.apply(params, stats, pooled, train=False)[0]["embedding"])

    def refresh(collect, state, step, key):
        memory, net = state.memory, state.online
        heads, prototypes, _ = memory.centroids.shape
        bank, seen = memory.bank, memory.seen
        if not np.any(seen):
            found, columns = collect("train", "pooled")
            z = embeddings(net.params["projector"], net.stats["projector"], found["encoder"]["pooled"])
            places = row_of[columns["index"]]
            bank, seen = bank.at[:, places].set(z[None]), seen.at[places].set(True)
        if (count := int(np.sum(seen))) < prototypes:
            raise InputError(f"prototypes={prototypes} is not accepted: {count} images have been seen since the last clustering")
        options = {"clusters": prototypes, "iterations": iterations, "where": seen}
        found = [spherical_k_means(k, bank[head % 2], **options) for head, k in enumerate(jax.random.split(key, heads))]
        centroids, assignments = (jnp.stack(x) for x in zip(*found, strict=True))
        return state._replace(memory=Clusters(centroids, assignments, bank, jnp.zeros_like(seen)))

    return refresh


def _row_of(numbers: ArrayLike) -> np.ndarray:
    """The row of each image by its number; a row that is not there for other numbers."""
    numbers = np.asarray(numbers)
    check_option("numbers", numbers.shape, lambda shape: len(shape) == 1 and shape[0] > 1, "the index [N] of the training images")
    row_of = np.full(numbers.max() + 1, len(numbers), np.int32)
    row_of[numbers] = np.arange(len(numbers))
    return row_of
