"""Swapped assignments to prototypes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import Method, Net, check_option, check_positive, freeze, keep_unit_columns, offset, push, unit
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views
from kdjax.methods.siamese._queue import random_queue
from kdjax.models import prototype_head


def swav(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    prototypes: int = 3000,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    queue: int = 0,
    queue_epoch: int = 15,
    frozen_epochs: int = 1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """The prototypes that one view is assigned to are predicted from the others; assignments use all prototypes equally.

    The first two views are assigned, by `losses.sinkhorn` of their cosines with the prototypes; `L = losses.swav(scores,
    assignments)`. More views of any size may follow. Views of one size pass the encoder as one batch, and all views the projector.
    Prototypes have length 1 behind every step. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      tx: the optimiser; the paper's is LARS.
      steps_per_epoch: of the run.
      prototypes: how many; a few times the classes.
      temperature: of the predictions' cosines.
      epsilon: of the assignments' cosines: the smaller, the nearer to one prototype each.
      iterations: of Sinkhorn's algorithm.
      queue: the newest embeddings of each of the first two views, a multiple of the global batch, that are assigned beside the
        batch; 0: none. The paper's small batches have 3,840.
      queue_epoch: from which on they are, once the queue is full.
      frozen_epochs: the first ones, in which prototypes do not learn.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it
      stand `"projector"` and `"prototypes"`.

    Reference: Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, Unsupervised Learning of Visual Features by Contrasting Cluster
    Assignments, NeurIPS 2020 (arXiv 2006.09882).
    """
    check_positive(temperature=temperature, epsilon=epsilon)
    for name, value in {"queue": queue, "queue_epoch": queue_epoch, "frozen_epochs": frozen_epochs}.items():
        check_option(name, value, lambda n: n >= 0, "a whole number, 0 or more")

    def assign(scores: jax.Array, past: Any, kernel: jax.Array, step: jax.Array, axis: AxisName) -> jax.Array:
        """The assignments of the batch, beside those of the queue where there is one."""

        def sinkhorn(scores):
            return losses.sinkhorn(scores, epsilon=epsilon, iterations=iterations, axis_name=axis)

        if past is None:
            return sinkhorn(scores)
        devices = 1 if axis is None else lax.axis_size(axis)
        share = len(past.rows) // devices  # every device adds its part of the queue, so that each row counts once
        own = lax.dynamic_slice_in_dim(past.rows, offset(share, axis), share)
        start = max(queue_epoch * steps_per_epoch, len(past.rows) // (devices * len(scores)))
        beside = lambda s: sinkhorn(jnp.concatenate([own @ kernel, s]))[share:]  # noqa: E731
        return lax.cond(step >= start, beside, sinkhorn, scores)

    def objective(outputs):
        scores = jnp.stack([taps["scores"] for taps in outputs.online])
        embeddings = [taps["projector/embedding"] for taps in outputs.online[:2]]
        kernel, axis = outputs.params["prototypes"]["kernel"], outputs.axis_name
        past = outputs.memory or (None, None)
        assigned = [assign(s, p, kernel, outputs.step, axis) for s, p in zip(scores, past, strict=False)]
        loss = losses.swav(scores, jnp.stack(assigned), temperature=temperature, axis_name=axis)
        return {"swav": loss}, tuple(push(q, unit(z), axis) for q, z in zip(outputs.memory, embeddings, strict=False))

    def memory(key, outputs):
        return tuple(random_queue(k, queue, outputs.online[0]["projector/embedding"]) for k in jax.random.split(key, 2))

    nets = {"encoder": encoder, "projector": projector, "prototypes": prototype_head(prototypes, normalise=False)}
    tx = freeze(keep_unit_columns(tx, "prototypes"), ["prototypes"], frozen_epochs * steps_per_epoch)
    return views(nets, tx, objective, together=True, memory=memory if queue else None, probe=probe, axis_name=axis_name)
