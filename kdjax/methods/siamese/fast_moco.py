"""Momentum contrast of combined patches."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_count, check_option, check_positive, check_share
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def fast_moco(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    *,
    split: int = 2,
    combine: int = 2,
    temperature: float = 1.0,
    momentum: float = 0.99,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A few patches of a view find the slow network's key of the whole other view: many positive pairs from one image.

    A view is cut into `split x split` patches, each encoded for itself. For every set `S` of `combine` of them, the mean of their
    features is projected and predicted, `q_S`; `L = mean over sets and both directions of losses.info_nce(q_S, k)`. The keys are
    those of the batch, of whole views. The online encoder is what is shipped, for whole images.

    Args:
      encoder: image of any size to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      tx: the optimiser; the paper's is SGD behind a clipping of the gradient to norm 1.
      split: patches along each side, a divisor of both sides of a view.
      combine: how many of the patches a set has; 1 is single patches.
      temperature: of the cosines.
      momentum: how much of itself the slow network keeps at each step.
      probe: a linear classifier on the mean of all patches trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"`, `"predictor"`, `"target_encoder"` and `"target_projector"`.

    Reference: Ci, Lin, Bai and Ouyang, Fast-MoCo: Boost Momentum-based Contrastive Learning with Combinatorial Patches, ECCV 2022
    (arXiv 2207.08220).
    """
    check_count(split=split)
    check_option("combine", combine, lambda n: 1 <= n <= split**2, f"1 to {split**2}, the number of patches")
    check_positive(temperature=temperature)
    check_share(momentum=momentum)
    sets = math.comb(split**2, combine)

    def objective(outputs):
        def contrast(query, key):
            query = query.reshape(-1, sets, query.shape[-1])
            of_set = lambda q: losses.info_nce(q, key, temperature=temperature, axis_name=outputs.axis_name)  # noqa: E731
            return jnp.mean(jax.vmap(of_set, 1, 1)(query), 1)

        (q1, q2), (k1, k2) = ([taps["embedding"] for taps in side] for side in (outputs.online, outputs.target))
        return {"info_nce": (contrast(q1, k2) + contrast(q2, k1)) / 2}, ()

    nets = {"encoder": encoder, "projector": projector, "predictor": predictor}
    return views(
        nets, tx, objective, trained_as={"encoder": _of_patches(encoder, split, combine)}, follow=("encoder", "projector"),
        decay=lambda step: momentum, probe=probe, axis_name=axis_name,
    )  # fmt: skip


def _of_patches(encoder: Net, split: int, combine: int) -> Net:
    """The encoder on patches: `"embedding"`, which the projector prefers, of each set, those of an image side by side."""
    sets = list(itertools.combinations(range(split**2), combine))
    share = np.zeros((len(sets), split**2), np.float32)
    for n, members in enumerate(sets):
        share[n, list(members)] = 1 / combine

    def apply(params, stats, x, *, train, key=None):
        taps, stats = encoder.apply(params, stats, _patches(x, split), train=train, key=key)
        pooled = taps["pooled"].reshape(-1, split**2, taps["pooled"].shape[-1])
        combined = jnp.einsum("bpd,sp->bsd", pooled, share, precision="highest")
        return {"pooled": jnp.mean(pooled, 1), "embedding": combined.reshape(-1, combined.shape[-1])}, stats

    return Net(encoder.init, apply)


def _patches(x: jax.Array, split: int) -> jax.Array:
    """`[B, H, W, C]` to `[B split^2, H / split, W / split, C]`, those of an image side by side."""
    rows, height, width, channels = x.shape
    if height % split or width % split:
        raise InputError(f"split={split} is not accepted: expected a divisor of the sides of a view, {height} and {width}")
    down, across = height // split, width // split
    # An axis at a time: of rows that lie over devices no more is reshaped at once.
    x = x.reshape(rows, split, down, width, channels).reshape(rows, split, down, split, across, channels).swapaxes(2, 3)
    return x.reshape(rows, split**2, down, across, channels).reshape(-1, down, across, channels)
