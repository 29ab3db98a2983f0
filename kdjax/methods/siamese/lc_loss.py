"""Bootstrap of whole views, and contrast between their places."""

import jax
import optax

from kdjax import losses
from kdjax.augment import correspondence
from kdjax.core import InputError, Method, Net, check_count, check_positive, check_share, cosine_to_one
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import views
from kdjax.models import last_map


def lc_loss(
    encoder: Net,
    projector: Net,
    predictor: Net,
    local: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    tau: float = 0.996,
    weight: Weight = 1.0,
    temperature: float = 0.1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """`byol`, and each place of a view's map finds the slow network's map of the other view at the same place of the image.

    `L = L_BYOL + weight mean_B [ l(m_1, m'_2) + l(m_2, m'_1) ] / 2` with `l` `losses.local_contrast` of the local projector's maps:
    the negatives are the other places of the same image. Which places are the same is known from the crops: batches need the
    `"geometry"` of their two views (`augment.views(..., geometry=True)`). The online encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`, the mean of its last map.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      local: map `[B, H, W, C]` to a map `"embedding"`, as `models.mlp_head` at each place.
      tx: the optimiser; the paper's is LARS.
      steps: length of the run, for the schedule of the decay.
      tau: how much of itself the slow network keeps, at the start; it rises to 1 by a cosine.
      weight: of the local term; 0.1 to 1.
      temperature: of the cosines between places.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image, and their `"geometry"`; a probe asks for `"label"`. Its network is
      `"encoder"`; beside it stand `"projector"`, `"local"`, `"predictor"`, `"target_encoder"`, `"target_projector"` and
      `"target_local"`. The encoder gives maps as stages, too.

    Reconstructed: the negatives, the temperature, the weight and the sizes of the local projector; there is no code of the authors.

    Reference: Islam, Lundell, Sawhney, Sinha, Morales and Radke, Self-supervised Learning with Local Contrastive Loss for Detection
    and Semantic Segmentation, WACV 2023 (arXiv 2207.04398).
    """
    check_share(tau=tau)
    check_count(steps=steps)
    check_positive(temperature=temperature)

    def objective(outputs):
        if "geometry" not in outputs.batch:
            raise InputError("a batch has no 'geometry': expected views made with geometry=True")
        moved = outputs.batch["geometry"]

        def found(a, b):
            online, target = outputs.online[a]["local/embedding"], outputs.target[b]["local/embedding"]
            places = jax.vmap(lambda one, other: correspondence(one, other, online.shape[1:3]))(moved[a], moved[b])
            return losses.local_contrast(online, target, places, temperature=temperature)

        (p1, p2), (z1, z2) = (
            [taps[f"{net}/embedding"] for taps in side]
            for net, side in (("predictor", outputs.online), ("projector", outputs.target))
        )
        return {"byol": losses.byol(p1, z2) + losses.byol(p2, z1), "local": (found(0, 1) + found(1, 0)) / 2}, ()

    nets = {"encoder": _with_map(encoder), "projector": projector, "local": local, "predictor": predictor}
    return views(
        nets, tx, objective, taps={"local": "map", "predictor": "projector/embedding"}, weights={"local": weight},
        follow=("encoder", "projector", "local"), decay=lambda step: cosine_to_one(step, steps, tau), starts="own", probe=probe,
        axis_name=axis_name,
    )  # fmt: skip


def _with_map(encoder: Net) -> Net:
    """The encoder with the map in front of the mean among its taps."""

    def apply(params, stats, x, *, train, key=None):
        taps, stats = encoder.apply(params, stats, x, train=train, key=key)
        return {**taps, "map": last_map(taps)}, stats

    return Net(encoder.init, apply)
