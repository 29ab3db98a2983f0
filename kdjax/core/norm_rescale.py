"""Parameters given the lengths of another network's."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError
from kdjax.core.tree_paths import by_path
from kdjax.core.unit import unit


def norm_rescale(params: Any, reference: Any) -> Any:
    """NormRescale: every array keeps its direction and takes the length of the same array of another network.

        w |v| / |w|,   with the Euclidean length of the whole array

    LARS makes weights longer than SGD does; a rate for fine-tuning that suits the ones is too small for the others. An array of
    zeros (or shorter than 1e-12) has no direction and stays as it is.

    Args:
      params: the parameters to be rescaled, a tree of arrays. Arrays of whole numbers pass.
      reference: parameters of a network of the same kind, the same tree.

    Returns:
      The tree of `params` with its types.

    Raises:
      InputError: for trees that differ, in one line that names the first difference.

    Reference:
      Junqiang Huang, Xiangwen Kong, Xiangyu Zhang, "Revisiting the Critical Factors of Augmentation-Invariant Representation
      Learning", ECCV 2022, arXiv 2208.00275. The authors' code rescales the running statistics of batch norm too, and makes NaN of
      an array of zeros; the statistics of a Net lie in a tree of their own, which may be passed as well.

    >>> norm_rescale({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([0.0, 10.0])})["w"].tolist()
    [6.0, 8.0]
    """
    leaves, other = (by_path(tree) for tree in (params, reference))
    for path in [*leaves, *other]:
        shapes = [jnp.shape(tree[path]) if path in tree else "nothing" for tree in (leaves, other)]
        if shapes[0] != shapes[1]:
            raise InputError(f"params hold {shapes[0]} at {path!r} and reference {shapes[1]}: expected the same tree of shapes")
    found = [_rescaled(jnp.asarray(w), jnp.asarray(other[path])) for path, w in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(params), found)


def _rescaled(w: jax.Array, like: jax.Array) -> jax.Array:
    if not jnp.issubdtype(w.dtype, jnp.floating):
        return w
    x, v = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (w, like))
    scaled = unit(x, tuple(range(x.ndim))) * jnp.linalg.norm(v.ravel())
    return jnp.where(jnp.linalg.norm(x.ravel()) < 1e-12, w, scaled.astype(w.dtype))
