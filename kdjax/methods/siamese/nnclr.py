"""The nearest neighbour as the other view."""

import optax

from kdjax import losses
from kdjax.core import Method, Net, check_positive, push, unit
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views
from kdjax.methods.siamese._queue import random_queue


def nnclr(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    *,
    queue: int = 65536,
    temperature: float = 0.1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """The nearest neighbour of a view, among embeddings of earlier images, finds the prediction from the other view.

    `L = mean_B [ nnclr(n_1, p_2) + nnclr(n_2, p_1) ] / 2`, with `n` the row of the queue that is nearest to the embedding `z`.
    Behind the loss the embeddings of the first view enter the queue. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      tx: the optimiser.
      queue: how many embeddings are kept, a multiple of the global batch.
      temperature: of the cosines.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"` and `"predictor"`.

    Reference: Dwibedi et al., With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual Representations,
    ICCV 2021 (arXiv 2104.14548).
    """
    check_positive(temperature=temperature)

    def objective(outputs):
        p1, p2 = (taps["embedding"] for taps in outputs.online)
        z1, z2 = (taps["projector/embedding"] for taps in outputs.online)
        pairs = (losses.nearest(z1, outputs.memory.rows), p2), (losses.nearest(z2, outputs.memory.rows), p1)
        both = [losses.nnclr(n, p, temperature=temperature, axis_name=outputs.axis_name) for n, p in pairs]
        return {"nnclr": (both[0] + both[1]) / 2}, push(outputs.memory, unit(z1), outputs.axis_name)

    def memory(key, outputs):
        return random_queue(key, queue, outputs.online[0]["projector/embedding"])

    nets = {"encoder": encoder, "projector": projector, "predictor": predictor}
    return views(nets, tx, objective, memory=memory, probe=probe, axis_name=axis_name)
