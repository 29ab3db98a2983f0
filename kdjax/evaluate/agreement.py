"""How closely a student follows its teacher, or what it was itself, whatever the labels say.

Arrays of other shapes raise `InputError`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.core.check import check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses import jensen_shannon, kl_distillation


def top1_agreement(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Whether both name the same class first.

    Args:
      student: logits `[B, C]`.
      teacher: logits `[B, C]`.

    Returns:
      1.0 or 0.0, `[B]`.

    Reference:
      Samuel Stanton, Pavel Izmailov, Polina Kirichenko, Alexander A. Alemi, Andrew Gordon Wilson, "Does Knowledge
      Distillation Really Work?", NeurIPS 2021, arXiv:2106.05945.

    >>> top1_agreement(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 9.0]])).tolist()
    [1.0]
    """
    _check(student, teacher)
    return (jnp.argmax(student, axis=-1) == jnp.argmax(teacher, axis=-1)).astype(jnp.float32)


def divergence(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """KL(teacher || student) of the softmax distributions, at temperature 1.

    Args:
      student: logits `[B, C]`.
      teacher: logits `[B, C]`.

    Returns:
      Nats, `[B]`, float32.

    >>> divergence(jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 1.0]])).tolist()
    [0.0]
    """
    _check(student, teacher)
    return kl_distillation(student, teacher, temperature=1.0)


def logit_correlation(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Pearson's correlation of the logits of an example, over the classes.

    Adding a number to all logits of an example, or scaling them, changes nothing. Constant logits give 0.

    Args:
      student: logits `[B, C]`.
      teacher: logits `[B, C]`.

    Returns:
      Between -1 and 1, `[B]`, float32.

    >>> logit_correlation(jnp.array([[0.0, 1.0, 2.0]]), jnp.array([[5.0, 7.0, 9.0]])).round(4).tolist()
    [1.0]
    """
    _check(student, teacher)
    s, t = (_unit(x.astype(jnp.float32) - jnp.mean(x, axis=-1, keepdims=True, dtype=jnp.float32)) for x in (student, teacher))
    return jnp.sum(s * t, axis=-1)


def forgetting(after: jax.Array, before: jax.Array) -> jax.Array:
    """How far predictions of fixed inputs moved while something else was learnt: their Jensen-Shannon divergence.

        (KL(P || M) + KL(Q || M)) / 2,   P, Q = softmax of the logits,  M = (P + Q) / 2

    Args:
      after: the student's logits `[B, C]` after a step.
      before: its logits of the same inputs before the step, `[B, C]`.

    Returns:
      Nats, `[B]`, float32, from 0 to log 2.

    Reference:
      Kien Do and others, "Momentum Adversarial Distillation: Handling Large Distribution Shifts in Data-Free Knowledge
      Distillation", NeurIPS 2022, arXiv:2209.10359.

    >>> [f"{x:.4f}" for x in forgetting(jnp.array([[99.0, 0.0]]), jnp.array([[0.0, 99.0]])).tolist()]  # log 2
    ['0.6931']
    """
    _check(after, before)
    return jensen_shannon(after, before, temperature=1.0, clip=0.0, reverse=False)


def relative_accuracy(accuracy: ArrayLike, reference: ArrayLike) -> ArrayLike:
    """An accuracy in percent of another: of the teacher's, so that studies with different teachers compare, or of the same net's
    with data.

    Args:
      accuracy: of the student.
      reference: of what it is compared with, in the same unit; above 0.

    Returns:
      `100 accuracy / reference`, percent.

    Raises:
      InputError: for a reference that is not above 0.

    >>> relative_accuracy(0.9, 0.96)
    93.75
    """
    check_option("reference", reference, lambda x: jnp.all(jnp.asarray(x) > 0), "accuracies above 0")
    return 100 * accuracy / reference


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _check(student: jax.Array, teacher: jax.Array) -> None:
    check_shapes("B C", student=student, teacher=teacher)
