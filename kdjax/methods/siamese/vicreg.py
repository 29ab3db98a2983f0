"""Variance, invariance and covariance."""

import optax

from kdjax import losses
from kdjax.core import Method, Net
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def vicreg(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    halve_variance: bool = True,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Both views' embeddings are near each other, each dimension varies, and no two dimensions vary together.

    `L = losses.vicreg(z_1, z_2)`. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`, the paper's "expander".
      tx: the optimiser; the paper's is LARS.
      invariance: weight of the distance between views.
      variance: weight of the variance below 1.
      covariance: weight of the covariances.
      halve_variance: whether the variance term is the mean of both views, as in the authors' code, or the sum.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stands
      `"projector"`.

    Reference: Bardes, Ponce and LeCun, VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning, ICLR
    2022 (arXiv 2105.04906).
    """
    options = {"invariance": invariance, "variance": variance, "covariance": covariance, "halve_variance": halve_variance}

    def objective(outputs):
        z1, z2 = (taps["embedding"] for taps in outputs.online)
        return {"vicreg": losses.vicreg(z1, z2, **options, axis_name=outputs.axis_name)}, ()

    return views({"encoder": encoder, "projector": projector}, tx, objective, probe=probe, axis_name=axis_name)


def vibcreg(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 200.0,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """As `vicreg`, with correlations in place of covariances.

    `L = losses.vibcreg(z_1, z_2)`. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`; the paper's ends in iterative normalisation, as `models.mlp_head` may.
      tx: the optimiser.
      invariance: weight of the distance between views.
      variance: weight of the variance below 1.
      covariance: weight of the correlations.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stands
      `"projector"`.

    Reference: Lee and Aune, VIbCReg: Variance-Invariance-better-Covariance Regularization for Self-Supervised Learning on Time
    Series, 2021 (arXiv 2109.00783).
    """
    options = {"invariance": invariance, "variance": variance, "covariance": covariance}

    def objective(outputs):
        z1, z2 = (taps["embedding"] for taps in outputs.online)
        return {"vibcreg": losses.vibcreg(z1, z2, **options, axis_name=outputs.axis_name)}, ()

    return views({"encoder": encoder, "projector": projector}, tx, objective, probe=probe, axis_name=axis_name)
