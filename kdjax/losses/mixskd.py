"""A network taught by what it makes of mixed images, and of the images apart (MixSKD)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, check_positive, wide
from kdjax.losses._labels import class_numbers
from kdjax.losses._softmax import times_log
from kdjax.losses.logits import cross_entropy, kl_distillation


def mixskd_terms(
    logits: Sequence[ArrayLike],
    maps: Sequence[ArrayLike],
    ensemble: ArrayLike,
    ensemble_mixed: ArrayLike,
    labels: ArrayLike,
    rows: ArrayLike,
    share: ArrayLike,
    *,
    temperature: ArrayLike = 3.0,
) -> dict[str, jax.Array]:
    """The terms of MixSKD but that of the discriminators (`told_apart`): all weigh 1.

    Of what an exit k makes of the images, `x`, and of the mixed ones, `m`, with `i = share x + (1 - share) x[rows]`:

        labels        sum_k CE(x_k, y)
        mixed_labels  sum_k CE(m_k, both y) + CE(ensemble, both y) + CE(ensemble_mixed, both y)
        divergence    sum_{k < last} [KL(i_k <- m_k) + KL(m_k <- i_k)] + KL(i_last <- ensemble_mixed) + KL(m_last <- ensemble)
        maps          sum_k mean (i_k - m_k)^2

    `both y` is `share CE(., y) + (1 - share) CE(., y[rows])`, and `KL(s <- t)` is `kl_distillation`, whose gradient stops at t. It
    flows through both sides of the maps, and into the ensemble by the mixed labels alone.

    Args:
      logits: `[2B, K]` of each exit, the images' before the mixed images'; the last exit is the one that is shipped.
      maps: `[2B, H_k, W_k, C_k]` of the same exits.
      ensemble: logits `[B, K]` of the self-teacher on the interpolated maps.
      ensemble_mixed: logits `[B, K]` of the self-teacher on the maps of the mixed images.
      labels: class numbers `[B]` (an integer type).
      rows: which image each one is mixed with, integers `[B]` in [0, B).
      share: of the image itself, in [0, 1].
      temperature: T, a number above 0.

    Returns:
      `{"labels", "mixed_labels", "divergence", "maps"}`, each `[B]`.

    Raises:
      InputError: for other shapes, another number of maps than of exits, none, or options out of range.

    Reference:
      Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang, "MixSKD: Self-Knowledge Distillation from Mixup for Image Recognition", ECCV 2022,
      arXiv 2208.05768. The authors' CIFAR script computes the mixed labels and leaves them out of the sum; the one for ImageNet
      has them.

    >>> z, f = jnp.zeros((2, 4)), jnp.ones((2, 1, 1, 3))  # one image, mixed with itself
    >>> found = mixskd_terms([z], [f], z[:1], z[:1], jnp.array([1]), jnp.array([0]), 0.5)
    >>> {name: round(float(term[0]), 4) for name, term in found.items()}
    {'labels': 1.3863, 'mixed_labels': 4.1589, 'divergence': 0.0, 'maps': 0.0}
    """
    if not len(logits) or len(logits) != len(maps):
        raise InputError(f"logits has {len(logits)} exits but maps has {len(maps)}: expected the same number, 1 or more")
    check_number("share", share, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    check_positive("temperature", temperature)
    sizes = check_shapes("B K", ensemble=ensemble, ensemble_mixed=ensemble_mixed)
    labels, rows = class_numbers(labels, {"B": sizes["B"]}), class_numbers(rows, {"B": sizes["B"]}, called="rows")
    count = len(labels)
    doubled = {"2B": (2 * count, "twice labels", (2 * count,))}
    for k, (z, f) in enumerate(zip(logits, maps, strict=True)):
        check_shapes("2B K", doubled | {"K": sizes["K"]}, **{f"logits[{k}]": z})
        check_shapes("2B H W C", doubled, **{f"maps[{k}]": f})
    share, exits = wide(share), [wide(z) for z in logits]

    def apart(x):
        """Interpolated, and of the mixed images."""
        x = wide(x)
        return times_log(share, x[:count]) + times_log(1 - share, x[:count][rows]), x[count:]

    def mixed_labels(z):
        return share * cross_entropy(z, labels) + (1 - share) * cross_entropy(z, labels[rows])

    def imitate(z, target):
        return kl_distillation(z, target, temperature=temperature)

    *early, (whole, mixed) = (apart(z) for z in exits)
    both = [*(z[count:] for z in exits), ensemble, ensemble_mixed]
    shipped = imitate(whole, ensemble_mixed) + imitate(mixed, ensemble)
    none = jnp.zeros(count)
    return {
        "labels": sum((cross_entropy(z[:count], labels) for z in exits), none),
        "mixed_labels": sum((mixed_labels(z) for z in both), none),
        "divergence": sum((imitate(i, m) + imitate(m, i) for i, m in early), shipped),
        "maps": sum((jnp.mean((i - m) ** 2, axis=(1, 2, 3)) for i, m in map(apart, maps)), none),
    }


def told_apart(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """How badly a discriminator with two outputs tells two origins apart: those of the first from those of the second.

    The mean of four binary entropies, of `first` towards (1, 0) and of `second` towards (0, 1). In MixSKD the network descends it
    together with the discriminator: what it makes of mixed images is to stay discernible. The gradient flows through both.

    Args:
      first: the discriminator's two scores before the sigmoid, `[B, 2]`, of features of the first origin.
      second: `[B, 2]`, of the second.

    Returns:
      `[B]`, in nats.

    Raises:
      InputError: for other shapes.

    Reference:
      Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang, "MixSKD: Self-Knowledge Distillation from Mixup for Image Recognition", ECCV 2022,
      arXiv 2208.05768. In the authors' CIFAR code no optimiser holds the discriminators.

    >>> print(f"{told_apart(jnp.array([[9.0, -9.0]]), jnp.array([[-9.0, 9.0]]))[0]:.4f}")
    0.0001
    """
    check_shapes("B K", first=first, second=second)
    if np.shape(first)[-1] != 2:
        raise InputError(f"first has shape {np.shape(first)}: expected [B, 2]")
    one, two = wide(first), wide(second)
    signed = jnp.stack([one[:, 0], -one[:, 1], -two[:, 0], two[:, 1]], axis=-1)
    return -jnp.mean(jax.nn.log_sigmoid(signed), axis=-1)
