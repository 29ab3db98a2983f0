"""Embeddings as particles: drawn to the middle of their views, spread over the sphere, and diffusing."""

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_share, cosine_to_one, row_normal
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import views


def msbreg(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    tau: float = 0.996,
    singular: Weight = 1.0,
    walk: Weight = 0.1,
    per_view: bool = True,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """All views of an image meet in the middle of what a slow network makes of them; images spread, globally and each for itself.

    `L = mean_B view_centroid(z, z') + singular D mean_V singular_values(z_v) + walk mean_VB random_walk(z_v, n_v)`, with `D` the
    width of the embeddings: the three terms are of `kdjax.losses`, the second from 0 to `D - 1`. All views pass both networks, two
    or more; the noise is drawn anew for every view, image and step. The decay rises to 1 as in `byol`. The online encoder is what
    is shipped.

    Formulas and weights are reconstructed: the paper's own weights are not known, and there is no code of its authors.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      tx: the optimiser; the paper's is LARS.
      steps: length of the run, for the schedule of the decay.
      tau: how much of itself the slow network keeps, at the start.
      singular: factor of the term of singular values; without it and the predictor all embeddings end in one.
      walk: factor of the random walk.
      per_view: whether each view is drawn to the middle, or the middle of the online views.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it
      stand `"projector"`, `"predictor"`, `"target_encoder"` and `"target_projector"`.

    Reference: Moon, Buracas, Park, Kim and Canny, An Embedding-Dynamic Approach to Self-Supervised Learning, WACV 2023 (arXiv
    2207.03552).
    """
    check_share(tau=tau)
    check_count(steps=steps)

    def objective(outputs):
        online, target = ([taps["embedding"] for taps in side] for side in (outputs.online, outputs.target))
        rows, width = online[0].shape
        walks, spread = [], []
        for z, key in zip(online, jax.random.split(outputs.key, len(online)), strict=True):
            walks.append(losses.random_walk(z, row_normal(key, rows, (width,), outputs.axis_name)))
            spread.append(width * losses.singular_values(z, axis_name=outputs.axis_name))
        together = losses.view_centroid(jnp.stack(online), jnp.stack(target), per_view=per_view)
        return {"centroid": together, "singular": sum(spread) / len(spread), "walk": sum(walks) / len(walks)}, ()

    return views(
        {"encoder": encoder, "projector": projector, "predictor": predictor}, tx, objective,
        weights={"singular": singular, "walk": walk}, follow=("encoder", "projector"),
        decay=lambda step: cosine_to_one(step, steps, tau), probe=probe, axis_name=axis_name,
    )  # fmt: skip
