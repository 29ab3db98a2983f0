"""Simple siamese networks."""

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def simsiam(
    encoder: Net,
    projector: Net,
    predictor: Net | None,
    tx: optax.GradientTransformation,
    *,
    probe: Net | None = None,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The network predicts, from one view, its own embedding of the other view, through which no gradient flows.

    `L = mean_B [ d(p_1, z_2) + d(p_2, z_1) ] / 2` with `d(p, z) = -cos(p, z)`, from -1 to 1.

    The paper's predictor keeps its learning rate to the end (`core.by_part`). The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`; the paper's ends in batch norm without scale and offset.
      predictor: `"embedding"` to `"embedding"`; the paper's is a bottleneck. None: the control that collapses.
      tx: the optimiser.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"` and `"predictor"`.

    Reference: Chen and He, Exploring Simple Siamese Representation Learning, CVPR 2021 (arXiv 2011.10566).
    """

    def objective(outputs):
        p1, p2 = (taps["embedding"] for taps in outputs.online)
        z1, z2 = (taps["projector/embedding"] for taps in outputs.online)
        return {"simsiam": (losses.simsiam(p1, z2) + losses.simsiam(p2, z1)) / 2}, ()

    nets = {"encoder": encoder, "projector": projector} | ({"predictor": predictor} if predictor else {})
    return views(nets, tx, objective, probe=probe, axis_name=axis_name, micro=micro)
