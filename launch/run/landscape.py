"""The loss of a network around its minimum, and on the straight way from another one to it."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import evaluate
from launch.run.image_batches import Batches, Weights

SCALES = (0.05, 0.1, 0.2)  # of the norm of each filter
DRAWS = 10
LINE, PLANE, WAY = np.linspace(-1, 1, 21), np.linspace(-1, 1, 11), np.linspace(0, 1, 11)


def landscape(weights: Weights, batches: Batches) -> dict:
    """The rise by random perturbations, the loss along one random direction and over two; filters are normalised.

    Batch norm uses the stored statistics, which stay as they are.
    """
    net, params, stats = weights
    loss = evaluate.evaluation_loss(net, stats)
    gap = evaluate.perturbation_gap(loss, params, batches, jax.random.key(2), scales=SCALES, draws=DRAWS)
    one, two = (evaluate.filter_normalised(jax.random.key(key), params) for key in (3, 4))
    grid = np.stack(np.meshgrid(PLANE, PLANE, indexing="ij"), -1).reshape(-1, 2)
    plane = evaluate.losses_at(loss, params, batches, [one, two], grid).reshape(len(PLANE), len(PLANE))
    return {
        "gap": {"scales": list(SCALES), "mean": gap.mean.tolist(), "error": gap.error.tolist()},
        "line": {"at": LINE.tolist(), "loss": evaluate.losses_at(loss, params, batches, [one], LINE[:, None]).tolist()},
        "plane": {"at": PLANE.tolist(), "loss": plane.tolist()},
    }


def way(start: Weights, end: Weights, batches: Batches) -> dict | None:
    """The loss on the line from one network's weights, statistics of batch norm too, to another's; None for other shapes."""
    net, *first = start
    _, *last = end
    form = lambda tree: jax.tree.map(jnp.shape, tree)  # noqa: E731
    if form(first) != form(last):
        return None

    def loss(held, batch):
        params, stats = held
        return evaluate.evaluation_loss(net, stats)(params, batch)

    steps = jax.tree.map(jnp.subtract, last, first)
    return {"at": WAY.tolist(), "loss": evaluate.losses_at(loss, first, batches, [steps], WAY[:, None]).tolist()}
