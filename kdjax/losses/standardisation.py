"""Logit standardisation: the student copies the shape of the teacher's logits, not their size."""

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import wide
from kdjax.losses._geometry import beyond_rounding
from kdjax.losses._positions import shown
from kdjax.losses.logits import kl_distillation


def standardise(logits: ArrayLike, *, ddof: int = 1) -> jax.Array:
    """Each row of logits with mean 0 and standard deviation 1.

        (z - mean z) / (std z + 1e-7)

    Apply it to both sides before any loss of logits: `decoupled(standardise(s), standardise(t), labels, ...)`. The gradient
    flows through mean and deviation. A row of equal logits (to rounding) becomes zero, with gradient 0. A masked class, of
    logit -inf, stays masked and counts in neither mean nor deviation.

    Args:
      logits: `[..., K]`, K at least 2.
      ddof: the deviation divides by K - ddof: 1 as in the authors' code, 0 as in the paper.

    Returns:
      `[..., K]`, in float32 or wider.

    Raises:
      InputError: for another shape, or another `ddof`.

    Reference:
      Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427.

    >>> standardise(jnp.array([[1.0, 3.0]]), ddof=0).round(3).tolist()
    [[-1.0, 1.0]]
    """
    check_shapes("... K", logits=logits)
    check_option("ddof", ddof, lambda v: v in (0, 1) and not isinstance(v, bool), "0 or 1")
    z = wide(logits)
    if z.shape[-1] < 2:
        raise InputError(f"logits has shape {z.shape}: expected [..., K] with K of at least 2")
    live = ~jnp.isneginf(z)
    count = jnp.sum(live.astype(z.dtype), axis=-1, keepdims=True)
    # Nothing changes when a row is shifted, but the rounding of its mean: large equal logits must not turn into noise.
    top = lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    z = jnp.where(live, z - top, 0.0)
    z = jnp.where(live, z - jnp.sum(z, axis=-1, keepdims=True) / jnp.maximum(count, 1.0), 0.0)
    variance = jnp.sum(z**2, axis=-1, keepdims=True) / jnp.maximum(count - ddof, 1.0)
    # Beside the 1e-7 the gradient of what is only rounding would be 1e7.
    varies = beyond_rounding(variance, top)
    scores = jnp.where(varies, z, 0.0) / (jnp.sqrt(jnp.where(varies, variance, 1.0)) + 1e-7)
    return jnp.where(live, scores, -jnp.inf)


def logit_standardised(
    student: ArrayLike, teacher: ArrayLike, *, temperature: ArrayLike = 2.0, ddof: int = 1, where: ArrayLike | None = None
) -> jax.Array:
    """The divergence of softened predictions made from standardised logits, times the squared temperature.

        T^2 KL(softmax(n(z_t) / T) || softmax(n(z_s) / T)),   n = `standardise`

    The student is free in the mean and the size of its logits. The gradient stops at the teacher.

    Args:
      student: logits `[..., K]`, K at least 2.
      teacher: logits `[..., K]`.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`; the
        authors have 2, with a weight of 9 on the term.
      ddof: the deviation divides by K - ddof: 1 as in the authors' code, 0 as in the paper.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or another `ddof`.

    Reference:
      Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv 2403.01427.

    >>> logits = jnp.array([[2.0, 0.0, -1.0]])
    >>> print(f"{logit_standardised(3 * logits + 5, logits, temperature=2.0)[0]:.4f}")
    0.0000
    """
    check_shapes("... K", student=student, teacher=teacher)
    student, teacher = (standardise(z, ddof=ddof) for z in shown(where, student, teacher))
    return kl_distillation(student, teacher, temperature=temperature, where=where)
