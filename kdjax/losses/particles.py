"""Embeddings as particles on a sphere: what draws views of an image together, and what spreads all images.

The three terms of one method, whose formulas are made from its description: there is no code of the authors. Only directions count:
rows are scaled to length 1 here, a row of zeros stays one and has gradient 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import InputError, check_rows
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_flag, wide
from kdjax.losses._geometry import products


def view_centroid(online: ArrayLike, target: ArrayLike, *, per_view: bool = True) -> jax.Array:
    """How far the views of an image are from the middle of what the slow network makes of them.

        mean over v of |u(z_v) - c'|^2,   c' = mean over v of u(z'_v),   u(x) = x / |x|

    The gradient stops at the target.

    Args:
      online: embeddings `[V, B, D]` of V views of the same images.
      target: those of the slow network, `[W, B, D]`.
      per_view: False compares the middle of the online views alone: `|mean over v of u(z_v) - c'|^2`, which is at most as large
        and leaves the views' distance from each other free.

    Returns:
      `[B]`, from 0 to 4.

    Raises:
      InputError: for other or unequal shapes, no view, or a `per_view` that is no flag.

    Reference:
      Moon, Buracas, Park, Kim, Canny, "An Embedding-Dynamic Approach to Self-Supervised Learning", WACV 2023, arXiv 2207.03552.

    >>> view_centroid(jnp.array([[[2.0, 0.0]], [[0.0, 1.0]]]), jnp.array([[[0.0, 3.0]]])).tolist()
    [1.0]
    """
    check_shapes("W B D", check_shapes("V B D", online=online), target=target)
    check_flag("per_view", per_view)
    for name, x in {"online": online, "target": target}.items():
        if not np.shape(x)[0]:
            raise InputError(f"{name} has shape {np.shape(x)}: expected 1 view or more")
    middle = jnp.mean(unit(lax.stop_gradient(wide(target))), 0)
    z = unit(wide(online))
    apart = z - middle[None] if per_view else jnp.mean(z, 0, keepdims=True) - middle[None]
    return jnp.mean(jnp.sum(apart**2, -1), 0)


def singular_values(embeddings: ArrayLike, *, axis_name: AxisName = None) -> jax.Array:
    """How far the singular values of a batch of directions are from all being equal.

        sum over k of sigma_k^4 / B^2 - 1 / D = |Z' Z / B - I / D|^2,   Z the rows u(z), whose squared singular values sum to B

    Args:
      embeddings: `[B, D]`, of one view: two views of an image would count as two images that are alike.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, from 0, where all directions of space are used alike, to 1 - 1 / D, where all rows are the same. With fewer rows
      than dimensions it is at least 1 / B - 1 / D.

    Raises:
      InputError: for another shape, or a single row.

    Reference:
      Moon, Buracas, Park, Kim, Canny, "An Embedding-Dynamic Approach to Self-Supervised Learning", WACV 2023, arXiv 2207.03552.

    >>> float(singular_values(jnp.array([[1.0, 0.0], [2.0, 0.0]])))
    0.5
    """
    rows, width = check_shapes("B D", embeddings=embeddings)["B"][0], np.shape(embeddings)[1]
    check_rows(rows, axis_name, "singular_values")
    z = unit(wide(embeddings))
    whole = rows if axis_name is None else rows * lax.axis_size(axis_name)
    return jnp.sum((products(z, z, axis_name) / whole - jnp.eye(width, dtype=z.dtype) / width) ** 2)


def random_walk(embeddings: ArrayLike, noise: ArrayLike) -> jax.Array:
    """A push in a random direction: `-u(z) . u(n)`, whose mean is 0 and whose gradient makes particles diffuse.

    The gradient stops at the noise. The value says nothing about how good an embedding is.

    Args:
      embeddings: `[B, D]`.
      noise: `[B, D]` standard normal, drawn anew for each row and step; only its direction counts.

    Returns:
      `[B]`, from -1 to 1.

    Raises:
      InputError: for other or unequal shapes.

    Reference:
      Moon, Buracas, Park, Kim, Canny, "An Embedding-Dynamic Approach to Self-Supervised Learning", WACV 2023, arXiv 2207.03552:
      the "Brownian diffusive" loss.

    >>> random_walk(jnp.array([[2.0, 0.0]]), jnp.array([[-3.0, 0.0]])).tolist()
    [1.0]
    """
    check_shapes("B D", embeddings=embeddings, noise=noise)
    return -jnp.sum(unit(wide(embeddings)) * unit(lax.stop_gradient(wide(noise))), -1)
