"""Targets that are probabilities rather than a teacher's logits, and the distance from them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core import collectives
from kdjax.core.arrays import ArrayLike, AxisName
from kdjax.core.mesh import on_any_mesh, rows_of
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_number, check_positive, temperatures, wide
from kdjax.losses._geometry import off_diagonal
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import divergence, log_probabilities, probabilities


def divergence_from(
    student: ArrayLike, target: ArrayLike, *, temperature: ArrayLike = 4.0, where: ArrayLike | None = None
) -> jax.Array:
    """The divergence of the student's softened prediction from a distribution, times the squared temperature.

        T^2 sum_k q[k] (log q[k] - log softmax(student / T)[k])

    As `kl_distillation` where q is the teacher's softened prediction. The gradient stops at the target, which is taken as it is:
    softened already, and not normalised again.

    Args:
      student: logits `[..., K]`.
      target: q, probabilities `[..., K]`; a class of 0 counts 0.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`; 4 as in `kl_distillation`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2.

    Raises:
      InputError: for other shapes, or a temperature that is not above 0.

    Reference:
      Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", NIPS Deep Learning Workshop 2014, arXiv 1503.02531.

    >>> print(f"{divergence_from(jnp.zeros(2), jnp.array([1.0, 0.0]), temperature=2.0):.4f}")  # 4 log 2
    2.7726
    """
    check_shapes("... K", student=student, target=target)
    t = temperatures(temperature, np.shape(student)[:-1])
    student, q = shown(where, student, lax.stop_gradient(wide(target)))
    log_q = jnp.where(q == 0, -jnp.inf, jnp.log(jnp.where(q == 0, 1.0, q)))
    return counted(t**2 * jnp.sum(divergence(log_q, log_probabilities(student, t)), axis=-1), where)


def bake_targets(
    features: ArrayLike,
    logits: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    omega: ArrayLike = 0.5,
    axis_name: AxisName = None,
) -> jax.Array:
    """What the other images of a batch say of each one: softened predictions, spread from image to image by likeness.

        Q = (1 - omega) (I - omega A)^-1 softmax(logits / T),   A[i, j] = softmax over j != i of cos(features_i, features_j)

    It is the limit of `Q <- omega A Q + (1 - omega) P`. All images count, whatever their class. A row of zeros is as far from every
    other. No gradient flows. The loss is `divergence_from(logits, Q, temperature=T)`, beside the labels.

    Args:
      features: `[B, D]`, those behind the pooling.
      logits: `[B, K]` of the same images.
      temperature: T, a number above 0.
      omega: the weight of others, in [0, 1); 0 leaves each its own prediction.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      `[B, K]`, each row sums to 1.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or an omega outside [0, 1).

    Reference:
      Ge, Zhang, Choi, Cheung, Zhao, Zhu, Wang, Zhao, Li, "Self-distillation with Batch Knowledge Ensembling Improves ImageNet
      Classification", 2021, arXiv 2104.13298. Self-KD-Lib takes the softmax of these probabilities once more, which the authors
      do not.

    >>> found = bake_targets(jnp.ones((2, 3)), jnp.array([[9.0, 0.0], [0.0, 9.0]]), temperature=0.1)
    >>> print(f"{found[0, 0]:.4f}")  # twice as much of its own as of the other's
    0.6667
    """
    sizes = check_shapes("B D", features=features)
    check_shapes("B K", sizes, logits=logits)
    check_positive("temperature", temperature)
    check_number("omega", omega, lambda w: 0 <= w < 1, "a number in [0, 1)")
    rows, w = np.shape(logits)[0], wide(omega)

    def targets(features, logits):
        x, p = (collectives.gather(a, axis_name) for a in (unit(features), probabilities(logits, temperature)))
        alike = jnp.matmul(x, x.T, precision=lax.Precision.HIGHEST)
        others = jax.nn.softmax(off_diagonal(alike, None, fill=-1e9))
        spread = (1 - w) * jnp.linalg.solve(jnp.eye(len(p), dtype=p.dtype) - w * others, p)
        return lax.dynamic_slice_in_dim(spread, collectives.offset(rows, axis_name), rows)

    both = lax.stop_gradient((wide(features), wide(logits)))
    return on_any_mesh(targets, lambda features, logits: rows_of(logits))(*both)
