"""Distillation by correlation: predictions need not be equal, only vary alike."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from kdjax.core import collectives
from kdjax.losses._check import check_number, check_positive, check_shapes, wide
from kdjax.losses._geometry import beyond_rounding, root
from kdjax.losses._softmax import probabilities

_EPSILON = 1e-8  # added to the product of two norms, as in the authors' code


def dist(
    student: jax.Array,
    teacher: jax.Array,
    *,
    beta: ArrayLike,
    gamma: ArrayLike,
    temperature: ArrayLike = 1.0,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """How far two predictions are from varying alike, over the classes of a row and over the rows of a class.

        tau^2 (beta (1 - mean_i rho(y_s[i, :], y_t[i, :])) + gamma (1 - mean_k rho(y_s[:, k], y_t[:, k])))

    y = softmax(logits / tau), and rho is Pearson's correlation: of centred vectors, their dot product divided by the product of
    their norms plus 1e-8. A row or a class that does not vary (by more than rounding) has correlation 0 and gradient 0; so has
    a masked class, of logit -inf, over the rows. Dense logits count each position of the whole batch as a row. The second mean
    is a statistic of the batch: 32 rows or more are advised. The gradient stops at the teacher.

    Args:
      student: logits `[B, ..., K]`.
      teacher: logits `[B, ..., K]`.
      beta: weight of the correlation over classes, at least 0.
      gamma: weight of the correlation over rows, at least 0.
      temperature: tau, a number above 0; the authors have 4 on CIFAR-100, 1 on ImageNet and for dense logits.
      where: mask `[B, ...]` of the rows that count, or None for all; an empty one gives 0.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, in [0, 2 tau^2 (beta + gamma)].

    Raises:
      InputError: for other shapes, a negative weight, or a temperature that is not above 0.

    Reference:
      Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv 2205.10536. The code has
      beta = gamma = 1 and a weight of 2 on the whole, which is the paper's beta = gamma = 2.

    >>> logits = jnp.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    >>> print(f"{dist(logits, logits, beta=1.0, gamma=1.0):.4f}")
    0.0000
    """
    sizes = check_shapes("B ... K", student=student, teacher=teacher)
    for name, weight in (("beta", beta), ("gamma", gamma)):
        check_number(name, weight, lambda v: 0 <= v < math.inf, "a finite number, at least 0")
    check_positive("temperature", temperature)
    classes = jnp.shape(student)[-1]
    kept = jnp.ones(jnp.shape(student)[:-1], bool)
    if where is not None:
        check_shapes("B ...", sizes, where=where)
        kept = jnp.asarray(where) != 0
    kept = kept.reshape(-1, 1)
    t = wide(temperature)

    def predictions(logits):
        # Masked rows first, so that what stands there reaches neither the value nor the gradient.
        return probabilities(jnp.where(kept, wide(logits).reshape(-1, classes), 0.0), t)

    def over_classes(x):
        return jnp.sum(x, axis=1, keepdims=True)

    def over_rows(x):
        return collectives.total(jnp.sum(jnp.where(kept, x, 0.0), axis=0, keepdims=True), axis_name)

    s, teach = predictions(student), predictions(lax.stop_gradient(teacher))
    count = over_rows(jnp.ones_like(s))
    some = jnp.minimum(count[0, 0], 1.0)
    inter = collectives.mean(1 - _correlation(s, teach, over_classes, classes), kept, axis_name)
    intra = some * jnp.mean(1 - _correlation(s, teach, over_rows, jnp.maximum(count, 1.0)))
    return t**2 * (wide(beta) * inter + wide(gamma) * intra)


def _correlation(a, b, total, count):
    a, b = _centred(a, total, count), _centred(b, total, count)
    return total(a * b) / (root(total(a * a)) * root(total(b * b)) + _EPSILON)


def _centred(x, total, count):
    mean = total(x) / count
    apart = x - mean
    # What is left of equal numbers is rounding, and its gradient beside the 1e-8 would be 1e8.
    return jnp.where(beyond_rounding(total(apart**2) / count, mean), apart, 0.0)
