"""Contrast between the places of one image, as two views of it show them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_positive, wide


def local_contrast(online: ArrayLike, target: ArrayLike, places: ArrayLike, *, temperature: ArrayLike = 0.1) -> jax.Array:
    """How well each cell of one view's map finds what the other view shows of the same place, among the other places of the image.

        mean over p with a place in the target of  -log(exp(a_p . b_p / T) / sum over such p' of exp(a_p . b_p' / T))

    a_p is the direction of the map at cell p, b_p that of the target's map at the place of p, between whose cells it is taken
    bilinearly. Cells whose place lies outside of the target count on neither side. The gradient stops at the target. The memory is
    `(H W)^2` numbers an image.

    Args:
      online: a map `[B, H, W, D]` of one view.
      target: the slow network's map of the other view, `[B, h, w, D]`.
      places: where the middle of each cell lies in the other view, `[B, H, W, 2]`, (x, y) in fractions of its width and height, as
        `augment.correspondence` has it.
      temperature: T, a number above 0.

    Returns:
      `[B]`, in nats; 0 for an image of which fewer than two cells have a place in the target.

    Raises:
      InputError: for other or unequal shapes, or a temperature that is not above 0.

    Reference:
      Islam, Lundell, Sawhney, Sinha, Morales, Radke, "Self-supervised Learning with Local Contrastive Loss for Detection and
      Semantic Segmentation", WACV 2023, arXiv 2207.04398. That the negatives are of the same image, and the temperature, are
      reconstructed: there is no code of the authors.

    >>> cells = jnp.eye(2).reshape(1, 1, 2, 2)
    >>> places = jnp.array([[[[0.25, 0.5], [0.75, 0.5]]]])  # of the same view
    >>> print(f"{local_contrast(cells, cells, places, temperature=1.0)[0]:.4f}")  # log(1 + 1 / e)
    0.3133
    """
    sizes = check_shapes("B H W D", online=online)
    check_shapes("B h w D", sizes, target=target)
    check_shapes("B H W P", {**sizes, "P": (2, "a point", (2,))}, places=places)
    check_positive("temperature", temperature)
    rows, height, width, depth = np.shape(online)
    cells = height * width
    a = unit(wide(online)).reshape(rows, height * width, depth)
    xy = lax.stop_gradient(wide(places)).reshape(rows, cells, 2)
    there = jnp.all((xy >= 0) & (xy <= 1), -1)
    b = unit(_sampled(lax.stop_gradient(wide(target)), xy))

    scores = jnp.einsum("bpd,bqd->bpq", a, b, precision="highest") / wide(temperature)
    # A cell without a place is its own only candidate, as a single one with a place is: its loss is 0 whatever the maps.
    candidates = jnp.where(there[:, :, None], there[:, None, :], jnp.eye(cells, dtype=bool)[None])
    own = jnp.einsum("bpp->bp", scores)  # not `jnp.diagonal`, whose gradient has no place on Explicit axes
    log_p = own - jax.nn.logsumexp(scores, axis=2, where=candidates)
    return -jnp.sum(jnp.where(there, log_p, 0.0), 1) / jnp.maximum(jnp.sum(there, 1), 1).astype(log_p.dtype)


def _sampled(maps: jax.Array, xy: jax.Array) -> jax.Array:
    """Maps `[B, h, w, D]` at points `[B, P, 2]`, bilinearly; in the half cell next to a border that of the border."""

    def share(at, size):
        """Of each cell in each point `[B, P, size]`."""
        at = jnp.clip(at * size - 0.5, 0, size - 1)
        return jnp.maximum(1 - jnp.abs(at[:, :, None] - jnp.arange(size, dtype=at.dtype)[None, None]), 0)

    height, width = maps.shape[1:3]
    return jnp.einsum("bpy,bpx,byxd->bpd", share(xy[..., 1], height), share(xy[..., 0], width), maps, precision="highest")
