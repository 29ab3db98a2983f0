"""Distillation by what channels have to do with one another."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import wide
from kdjax.losses._geometry import shrink
from kdjax.losses._positions import counted, shown


def inter_channel_correlation(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The squared difference of the correlations between channels.

        sum over c, d of (G_s - G_t)[c, d]^2 / C,   G[c, d] = sum over positions of f[., c] f[., d], each row c of length 1

    The sides of the two maps may differ, as positions are summed over. The gradient stops at the teacher; a channel of zeros
    has correlations 0 and gradient 0.

    Args:
      student: the map behind the student's adapter, `[B, h, w, C]`.
      teacher: a map of as many channels, `[B, H, W, C]`.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for other shapes.

    Reference:
      Liu, Huang, Lin, Xie, Wang, Chang, Liang, "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge
      Distillation", ICCV 2021, arXiv 2202.03680.

    >>> x, y = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]]), jnp.array([[[[1.0, 1.0]]]])
    >>> print(f"{inter_channel_correlation(x, y)[0]:.4f}")  # each row: (1, 0) against (1, 1) / sqrt 2
    0.5858
    """
    sizes = check_shapes("B h w C", student=student)
    check_shapes("B H W C", sizes, teacher=teacher)
    s, t = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    difference = _correlations(s) - _correlations(t)
    return counted(jnp.sum(difference**2, (1, 2)) / difference.shape[-1], where)


def _correlations(x):
    x = shrink(x).reshape(x.shape[0], -1, x.shape[-1])
    return unit(jnp.einsum("bpc,bpd->bcd", x, x), 2)
