"""Whitened embeddings."""

import itertools

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_option, gather
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def w_mse(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    size: int = 128,
    repeats: int = 1,
    shrinkage: float = 0.0,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Views of an image are near each other, where the embeddings of a batch are whitened.

    `L = mean over pairs of views and rows of losses.w_mse(whiten(z_1), whiten(z_2))`. Rows are whitened in parts of the batch, the
    same random ones for all views, drawn anew at each step. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`, narrower than a part has rows.
      tx: the optimiser.
      size: rows of a part, which divides the global batch; the paper has 128 for 64 dimensions, 256 for 128.
      repeats: how often the parts are drawn in a step.
      shrinkage: share of the identity in the covariance.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it
      stands `"projector"`.

    Reference: Ermolov, Siarohin, Sangineto and Sebe, Whitening for Self-Supervised Representation Learning, ICML 2021 (arXiv
    2007.06346).
    """
    check_count(repeats=repeats)

    def objective(outputs):
        embeddings = jnp.stack([gather(taps["embedding"], outputs.axis_name) for taps in outputs.online])
        count, rows, width = embeddings.shape
        check_option("size", size, lambda n: n >= 1 and rows % n == 0, f"a divisor of the batch, {rows}")

        def once(key):
            parts = embeddings[:, jax.random.permutation(key, rows)].reshape(count, rows // size, size, width)
            white = jax.vmap(jax.vmap(lambda z: losses.whiten(z, shrinkage=shrinkage)))(parts)
            pairs = [jax.vmap(losses.w_mse)(white[a], white[b]) for a, b in itertools.combinations(range(count), 2)]
            return jnp.mean(jnp.stack(pairs))

        return {"w_mse": jnp.mean(jnp.stack([once(key) for key in jax.random.split(outputs.key, repeats)]))}, ()

    return views({"encoder": encoder, "projector": projector}, tx, objective, probe=probe, axis_name=axis_name)
