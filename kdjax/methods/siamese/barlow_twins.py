"""Reduction of redundancy."""

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import views


def barlow_twins(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    weight: float = 0.0051,
    scale: Weight = 1.0,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Each dimension of the embedding agrees between two views, and no two dimensions say the same.

    `L = scale losses.barlow_twins(z_1, z_2)`, of the correlations between both views' dimensions. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      tx: the optimiser; the paper's is LARS, with a rate of its own for biases and norms.
      weight: of correlations between dimensions; for few of them about 1 / D.
      scale: of the loss; solo-learn has 0.1 on CIFAR.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stands
      `"projector"`.

    Reference: Zbontar, Jing, Misra, LeCun and Deny, Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML 2021
    (arXiv 2103.03230).
    """

    def objective(outputs):
        z1, z2 = (taps["embedding"] for taps in outputs.online)
        return {"barlow_twins": losses.barlow_twins(z1, z2, weight=weight, axis_name=outputs.axis_name)}, ()

    nets = {"encoder": encoder, "projector": projector}
    return views(nets, tx, objective, weights={"barlow_twins": scale}, probe=probe, axis_name=axis_name)
