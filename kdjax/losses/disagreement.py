"""How far a student is from its teacher, as what makes images is moved by it: towards images on which the two differ.

A generator ascends these through both networks, so no gradient stops at the teacher. A student that descends one has a teacher
whose parameters nobody moves, and images that are constants.
"""

import jax
import jax.numpy as jnp

from kdjax.core.arrays import ArrayLike
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_positive, wide
from kdjax.losses._geometry import absolute
from kdjax.losses._positions import counted, shown
from kdjax.losses.logits import kl_distillation


def logit_discrepancy(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The mean distance of a student's logits from its teacher's.

        mean over k of |z_s[k] - z_t[k]|

    The student descends it, and the generator ascends it; where pixels are predicted, the generator descends
    `-log(1 + mean)` with the mean over the batch. The gradient flows through both sides, and is 0 where two logits are equal. A
    class that both mask, with logits of -inf, is as if it were not there.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, at least 0.

    Raises:
      InputError: for other shapes.

    Reference:
      Fang, Song, Shen, Wang, Chen, Song, "Data-Free Adversarial Distillation", 2019, arXiv 1912.11006.

    >>> logit_discrepancy(jnp.array([[1.0, 2.0]]), jnp.array([[4.0, 1.0]]))
    Array([2.], dtype=float32)
    """
    check_shapes("... K", student=student, teacher=teacher)
    s, t = shown(where, wide(student), wide(teacher))
    none = jnp.isneginf(s) & jnp.isneginf(t)
    apart = absolute(jnp.where(none, 0.0, s) - jnp.where(none, 0.0, t))
    return counted(jnp.sum(apart, axis=-1) / jnp.maximum(jnp.sum(~none, axis=-1), 1).astype(s.dtype), where)


def decision_adversarial(
    student: ArrayLike, teacher: ArrayLike, *, temperature: ArrayLike = 1.0, where: ArrayLike | None = None
) -> jax.Array:
    """Minus the divergence of the two predictions where both name the same class first, else 0.

        -T^2 KL(softmax(z_t / T) || softmax(z_s / T))   if argmax z_s = argmax z_t

    Whoever makes the images descends it: they go where the student is unsure of what both say, and not where it is wrong already.
    The gradient flows through both sides; where the two disagree it is 0. Of several equal largest logits the first counts.

    Args:
      student: logits `[..., K]`.
      teacher: logits `[..., K]`.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`; CuDFKD has 3.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, at most 0, in nats times T^2. Its mean over the batch is one over all rows, those of 0 included.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Fang, Song, Wang, Shen, Wang, Song, "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
      arXiv 2105.08584 (T = 1).

    >>> student, teacher = jnp.array([[2.0, 0.0], [0.0, 2.0]]), jnp.array([[9.0, 0.0], [9.0, 0.0]])
    >>> print([f"{x:.4f}" for x in decision_adversarial(student, teacher).tolist()])
    ['-0.1259', '0.0000']
    """
    check_shapes("... K", student=student, teacher=teacher)
    student, teacher = shown(where, student, teacher)
    agree = jnp.argmax(student, axis=-1) == jnp.argmax(teacher, axis=-1)
    apart = kl_distillation(student, teacher, temperature=temperature, stop_teacher=False, where=agree)
    return counted(jnp.where(agree, -apart, 0.0), where)


def bounded(term: ArrayLike, *, bound: ArrayLike) -> jax.Array:
    """A term that a generator ascends, held at a bound: beyond it there is nothing to gain, and the gradient is 0.

        min(term, bound)

    Without it a generator drives images to wherever teacher and student differ without end.

    Args:
      term: what is ascended, one number a row: `[B]`, or any shape.
      bound: a finite number above 0.

    Returns:
      The shape of `term`.

    Raises:
      InputError: for a bound that is not above 0.

    Reference:
      Do, Le, Nguyen, Nguyen, Harikumar, Tran, Rana, Venkatesh, "Momentum Adversarial Distillation: Handling Large Distribution
      Shifts in Data-Free Knowledge Distillation", NeurIPS 2022, arXiv 2209.10359.

    >>> bounded(jnp.array([0.5, 3.0]), bound=1.0)
    Array([0.5, 1. ], dtype=float32)
    """
    check_positive("bound", bound)
    x, most = wide(term), wide(bound)
    # Not `jnp.minimum`, which passes half of the gradient on the bound itself.
    return jnp.where(x > most, most, x)
