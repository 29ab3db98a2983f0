"""USL-T: clusters of images learnt on top of features, so that one image of each is worth a label."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.check import check_option
from kdjax.core.ema import ema
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, check_positive, wide
from kdjax.losses._labels import class_mask
from kdjax.losses._softmax import divergence, log_probabilities, probabilities
from kdjax.losses.logits import cross_entropy

VARIANTS = ("mean", "share", "batch")


def uslt_local(
    anchor: ArrayLike, neighbour: ArrayLike, mean: ArrayLike, *, adjustment: ArrayLike = 5.0, temperature: ArrayLike = 0.25
) -> jax.Array:
    """The divergence of an image's cluster from the sharpened one of a neighbour, rare clusters raised.

        KL(t || softmax(anchor)),   t = softmax((neighbour - adjustment log mean) / T)

    The mean is that of *before* this batch; `uslt_mean` moves it afterwards. A cluster that the batches use little gains in t, so
    that none dies out. The gradient stops at the neighbour and the mean.

    Args:
      anchor: logits `[..., K]` of the image, strongly augmented.
      neighbour: logits `[..., K]` of one of its nearest neighbours.
      mean: the moving mean of the probabilities of neighbours, `[K]`; 1 / K each at the start.
      adjustment: a finite number; 0 for none.
      temperature: T, a number above 0; below 1 it sharpens.

    Returns:
      `[...]`, in nats.

    Raises:
      InputError: for other shapes, or options out of range.

    Reference:
      Wang, Lian, Yu, "Unsupervised Selective Labeling for More Effective Semi-Supervised Learning", ECCV 2022, arXiv 2110.03006.
      Each head has a loss and a mean of its own; the total is that of all heads, 5 times this and `uslt_global`.

    >>> even = jnp.full(2, 0.5)
    >>> print(f"{uslt_local(jnp.zeros(2), jnp.array([9.0, 0.0]), even):.4f}")  # a sure neighbour, an anchor that does not know
    0.6931
    """
    sizes = check_shapes("... K", anchor=anchor, neighbour=neighbour)
    check_shapes("K", sizes, mean=mean)
    check_number("adjustment", adjustment, math.isfinite, "a finite number")
    check_positive("temperature", temperature)
    y, m = (lax.stop_gradient(wide(x)) for x in (neighbour, mean))
    rare = -wide(adjustment) * jnp.log(jnp.maximum(m, jnp.finfo(m.dtype).tiny))
    target = log_probabilities(y + rare.reshape(*[1] * (y.ndim - 1), -1), temperature)
    return jnp.sum(divergence(target, log_probabilities(anchor)), axis=-1)


def uslt_mean(mean: ArrayLike, neighbour: ArrayLike, *, momentum: ArrayLike = 0.5, axis_name: AxisName = None) -> jax.Array:
    """The mean of `uslt_local` after a step: it moves towards the probabilities of this batch's neighbours, as they are.

        m / sum m,   m = momentum mean + (1 - momentum) (mean over n of softmax(neighbour)[n])

    No gradient flows.

    Args:
      mean: `[K]`.
      neighbour: logits `[B, K]`, those that the loss of this step has seen.
      momentum: in [0, 1].
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[K]`, the type of `mean`; the same on all devices.

    Raises:
      InputError: for other shapes, or a momentum outside [0, 1].

    Reference:
      Wang, Lian, Yu, "Unsupervised Selective Labeling for More Effective Semi-Supervised Learning", ECCV 2022, arXiv 2110.03006.

    >>> uslt_mean(jnp.full(2, 0.5), jnp.array([[50.0, 0.0]])).tolist()
    [0.75, 0.25]
    """
    check_shapes("B K", check_shapes("K", mean=mean), neighbour=neighbour)
    check_number("momentum", momentum, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    new = collectives.pmean(jnp.mean(probabilities(neighbour), axis=0), axis_name)
    moved = ema(wide(mean), new, wide(momentum))
    return lax.stop_gradient((moved / jnp.sum(moved)).astype(jnp.asarray(mean).dtype))


def uslt_global(
    weak: ArrayLike, strong: ArrayLike, *, threshold: ArrayLike = 0.95, variant: str = "mean", axis_name: AxisName = None
) -> jax.Array:
    """The cross-entropy of one view with the sure decisions of another, every cluster that occurs counting the same.

        "mean":   L = mean over the clusters c that occur of  mean over n decided for c of  -log softmax(strong)[n, c]
        "share":  N / B L
        "batch":  N C / B L

    An image counts where its largest probability in the weak view exceeds the threshold, and is decided for that cluster. N such
    images of B, and C clusters among them. No gradient flows into the weak view.

    Args:
      weak: logits `[B, K]` of the view that decides.
      strong: logits `[B, K]` of the view that learns.
      threshold: that the largest probability must exceed, in [0, 1].
      variant: `"mean"`; or, divided by the whole batch, so that few sure images count little, `"share"`, or `"batch"`, which grows
        with the number of clusters and is what the authors run on CIFAR-100 and larger sets.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in nats; 0 where no image counts.

    Raises:
      InputError: for other or unequal shapes, or options out of range.

    Reference:
      Wang, Lian, Yu, "Unsupervised Selective Labeling for More Effective Semi-Supervised Learning", ECCV 2022, arXiv 2110.03006;
      after Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, "SCAN: Learning to Classify Images without Labels", ECCV
      2020, arXiv 2005.12320. Without the balance it is `self_label`.

    >>> weak = jnp.array([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.1, 0.0]])
    >>> print(f"{uslt_global(weak, jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [0.9, 0.1]]))):.4f}")
    1.4979
    """
    check_shapes("B K", weak=weak, strong=strong)
    check_number("threshold", threshold, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    check_option("variant", variant, lambda v: v in VARIANTS, " or ".join(map(repr, VARIANTS)))
    sure = jnp.max(probabilities(weak), axis=-1) > wide(threshold)
    decided = jnp.argmax(jnp.asarray(weak), axis=-1)
    each = cross_entropy(strong, decided, where=sure)
    member = class_mask(decided, np.shape(weak)[-1]) & sure[:, None]
    # Not a product: of an infinite term the other clusters would get NaN.
    summed = collectives.psum(jnp.sum(jnp.where(member, each[:, None], 0.0), axis=0), axis_name)
    count = collectives.psum(jnp.sum(member.astype(each.dtype), axis=0), axis_name)
    occur = jnp.sum((count > 0).astype(each.dtype))
    mean = jnp.sum(summed / jnp.maximum(count, 1.0)) / jnp.maximum(occur, 1.0)
    if variant == "mean":
        return mean
    share = collectives.mean(sure.astype(each.dtype), axis_name=axis_name)
    return share * mean if variant == "share" else share * occur * mean
