"""Bootstrap your own latent."""

import optax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_share, cosine_to_one
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def byol(
    encoder: Net,
    projector: Net,
    predictor: Net | None,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    tau: float = 0.996,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """The online network predicts, from one view, what a slow copy of itself makes of the other view.

    `L = mean_B [ r(q(z_1), z'_2) + r(q(z_2), z'_1) ]` with `r(p, z) = 2 - 2 cos(p, z)`: the *sum* of both directions, from 0 to
    8. The target's decay rises as `1 - (1 - tau) (cos(pi k / steps) + 1) / 2`.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`. None: the control that collapses, at once with a decay of 0.
      tx: the optimiser; the paper's is LARS.
      steps: length of the run, for the schedule of the decay.
      tau: the decay at the start: 0.996 for 1000 ImageNet epochs, 0.99 for 100 and 300.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"`, `"predictor"`, `"target_encoder"` and `"target_projector"`.

    Reference: Grill et al., Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning, NeurIPS 2020
    (arXiv 2006.07733).
    """
    check_share(tau=tau)
    check_count(steps=steps)

    def objective(outputs):
        (p1, p2), (z1, z2) = ([taps["embedding"] for taps in side] for side in (outputs.online, outputs.target))
        return {"byol": losses.byol(p1, z2) + losses.byol(p2, z1)}, ()

    def decay(step):
        return cosine_to_one(step, steps, tau)

    nets = {"encoder": encoder, "projector": projector} | ({"predictor": predictor} if predictor else {})
    return views(nets, tx, objective, follow=("encoder", "projector"), decay=decay, starts="own", probe=probe, axis_name=axis_name)
