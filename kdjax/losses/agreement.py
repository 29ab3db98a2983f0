"""Two predictions of one image that are to agree, each of which learns."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, wide
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import times_log
from kdjax.losses.logits import kl_distillation


def symmetric_divergence(
    a: ArrayLike,
    b: ArrayLike,
    *,
    temperature: ArrayLike,
    through: Literal["both", "first", "second"] = "both",
    where: ArrayLike | None = None,
) -> jax.Array:
    """The divergence of two softened predictions in both directions, times the squared temperature.

        T^2 ( KL(p_a || p_b) + KL(p_b || p_a) ),   p = softmax(logits / T)

    Both sides learn, by the two arguments of either divergence, or by one of them: `"second"` is what distillation does, each side
    imitating the other, and `"first"` what is left. The value is the same.

    Args:
      a: logits `[..., K]`.
      b: logits `[..., K]`.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`.
      through: the arguments of the divergences through which gradients flow.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or an unknown `through`.

    Reference:
      Lee, Park, Seo, Kang, "Self-Knowledge Distillation via Dropout", Computer Vision and Image Understanding 2023,
      arXiv 2208.05642.

    >>> logits = jnp.array([[2.0, 0.0, -1.0]])
    >>> float(symmetric_divergence(logits, logits, temperature=4.0)[0])
    0.0
    """
    check_shapes("... K", a=a, b=b)
    check_option("through", through, lambda v: v in ("both", "first", "second"), "'both', 'first' or 'second'")
    if through == "both":
        sides = ((a, b), (b, a))
    else:
        fixed = lax.stop_gradient((a, b))
        sides = ((a, fixed[1]), (b, fixed[0])) if through == "second" else ((fixed[1], a), (fixed[0], b))
    first, second = (kl_distillation(s, t, temperature=temperature, stop_teacher=False, where=where) for s, t in sides)
    return first + second


def cosub(
    first: ArrayLike, second: ArrayLike, targets: ArrayLike, *, weight: ArrayLike = 0.5, where: ArrayLike | None = None
) -> jax.Array:
    """Two submodels of one network learn from the labels, and each from what the other one says of every class.

        (1 - weight) / 2 (b(z_1, y) + b(z_2, y)) + weight / 2 (b(z_1, sigmoid(z_2)) + b(z_2, sigmoid(z_1)))
        b(z, t) = -mean over k of t log sigmoid(z) + (1 - t) log(1 - sigmoid(z))

    The gradient stops at each target.

    Args:
      first: logits `[..., K]` of one submodel.
      second: logits `[..., K]` of the other one.
      targets: y in [0, 1], `[..., K]`; mixed ones are taken as they are (the authors' code, with another flag, makes all that are
        above 0 a 1).
      weight: of the other submodel, in [0, 1].
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats.

    Raises:
      InputError: for other shapes, or a weight outside [0, 1].

    Reference:
      Touvron, Cord, Oquab, Bojanowski, Verbeek, Jégou, "Co-training 2^L Submodels for Visual Recognition", CVPR 2023,
      arXiv 2212.04884.

    >>> print(f"{cosub(jnp.zeros((1, 4)), jnp.zeros((1, 4)), jnp.eye(4)[:1])[0]:.4f}")
    0.6931
    """
    check_shapes("... K", first=first, second=second, targets=targets)
    check_number("weight", weight, lambda v: 0 <= v <= 1, "a number in [0, 1]")
    one, two, y = shown(where, wide(first), wide(second), wide(targets))
    w = wide(weight)
    labels = _binary(one, y) + _binary(two, y)
    other = _binary(one, jax.nn.sigmoid(two)) + _binary(two, jax.nn.sigmoid(one))
    return counted((1 - w) / 2 * labels + w / 2 * other, where)


def _binary(z: jax.Array, targets: jax.Array) -> jax.Array:
    """The mean over the last axis of the binary cross-entropies of logits with targets that are constants."""
    return jnp.mean(jax.nn.softplus(z) - times_log(lax.stop_gradient(targets), z), axis=-1)
