"""Distillation behind every stage of a network, on joint labels of class and rotation (HSAKD)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._labels import class_numbers
from kdjax.losses.logits import cross_entropy, kl_distillation


def joint_labels(labels: ArrayLike, *, rotations: int = 4) -> jax.Array:
    """The joint labels of a batch in which each image stands in all its rotations, one after another.

        rotations label[b] + j,   for image b under rotation j, at row rotations b + j

    So class c owns the joint classes `rotations c` to `rotations c + rotations - 1`. A negative label (none) stays negative.

    Args:
      labels: class numbers `[B]` (an integer type).
      rotations: how many each image has, 1 or more.

    Returns:
      int32 `[rotations B]`.

    Raises:
      InputError: for another shape, labels that are not integers, or fewer than 1 rotation.

    Reference:
      Yang, An, Cai, Xu, "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021, arXiv 2107.13715.

    >>> joint_labels(jnp.array([0, 2])).tolist()
    [0, 1, 2, 3, 8, 9, 10, 11]
    """
    check_option("rotations", rotations, lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1, "1 or more")
    # Small integer types would overflow.
    first = rotations * class_numbers(labels).astype(jnp.int32)
    return (first[:, None] + jnp.arange(rotations, dtype=jnp.int32)[None]).reshape(-1)


def joint_cross_entropy(branches: Sequence[ArrayLike], labels: ArrayLike) -> jax.Array:
    """The cross-entropy of the joint predictions of all branches with the joint labels: how the teacher's branches learn.

        sum_l -log softmax(branches[l])[joint label]

    The rows are ordered as in `joint_labels`, and the number of rotations is read off the shapes. The objective of the teacher
    adds the cross-entropy of the final classifier on the upright images, `logits[::4]`.

    Args:
      branches: joint logits `[R B, R K]` of each branch, for R rotations; at least one.
      labels: class numbers `[B]` (an integer type).

    Returns:
      `[R B]`, in nats. Rows of a negative label are NaN.

    Raises:
      InputError: for other shapes, no branch, or labels that are not integers.

    Reference:
      Yang, An, Cai, Xu, "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021, arXiv 2107.13715.

    >>> print(f"{joint_cross_entropy([jnp.zeros((4, 8))], jnp.array([1]))[0]:.4f}")  # log 8
    2.0794
    """
    if not len(branches):
        raise InputError("branches has 0 entries: expected the joint logits of at least one branch")
    check_shapes("RB RK", **{f"branches[{i}]": x for i, x in enumerate(branches)})
    labels = class_numbers(labels)
    rows, classes = np.shape(branches[0])
    rotations = rows // max(len(labels), 1)
    if not rotations or rows != rotations * len(labels) or classes % rotations:
        was = f"branches[0] has shape {(rows, classes)} but labels has shape {labels.shape}"
        raise InputError(f"{was}: expected [R B, R K] for labels [B] and R rotations")
    joint = joint_labels(labels, rotations=rotations)
    return jnp.sum(jnp.stack([cross_entropy(x, joint) for x in branches]), axis=0)


def hierarchical_distillation(
    student: Sequence[ArrayLike],
    teacher: Sequence[ArrayLike],
    *,
    temperature: ArrayLike = 3.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The divergence of softened predictions at several exits of a network, times the squared temperature, summed over exits.

        sum_l T^2 KL(softmax(teacher[l] / T) || softmax(student[l] / T))

    The method passes the joint logits of every branch and, as the last pair, the class logits, all on the images in all their
    rotations; all exits weigh the same, and the gradient stops at the teacher. The student's objective adds the cross-entropy of
    its class logits on the upright images, `logits[::4]`, and no cross-entropy of the joint labels.

    Args:
      student: logits `[B, K_l]` of each exit, at least one.
      teacher: logits `[B, K_l]` of the same exits.
      temperature: T above 0, one number or one a row `[B]`.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`, in nats times T^2.

    Raises:
      InputError: for other shapes, another number of exits, none, or a temperature that is not above 0.

    Reference:
      Yang, An, Cai, Xu, "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021, arXiv 2107.13715.

    >>> exits = [jnp.array([[2.0, 0.0, -1.0, 1.0]]), jnp.array([[1.0, 3.0]])]
    >>> float(hierarchical_distillation(exits, exits)[0])
    0.0
    """
    if not len(student) or len(student) != len(teacher):
        raise InputError(f"student has {len(student)} exits but teacher has {len(teacher)}: expected the same number, 1 or more")
    sizes = None
    for i, (s, t) in enumerate(zip(student, teacher, strict=True)):
        # The classes of an exit are its own, the rows are shared.
        sizes = check_shapes(f"B K{i}", sizes, **{f"student[{i}]": s, f"teacher[{i}]": t})
    pairs = zip(student, teacher, strict=True)
    return jnp.sum(jnp.stack([kl_distillation(s, t, temperature=temperature, where=where) for s, t in pairs]), axis=0)
