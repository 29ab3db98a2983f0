"""Losses that compare relations between the examples of a batch: who is near whom, in the student and in the teacher.

Every row sees every other, so each loss is a scalar of the global batch. With `axis_name` the rows of all devices are
gathered; a device works out its own rows' relations to all the others. Widths of student and teacher may differ unless
said.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from kdjax.core import collectives
from kdjax.core.check import check_option
from kdjax.losses._check import check_flag, check_positive, check_shapes, wide
from kdjax.losses._geometry import absolute, off_diagonal, root, unit

# Added to lengths and to probabilities, as in the authors' code of probabilistic transfer.
_EPSILON = 1e-7


def similarity_preserving(student: jax.Array, teacher: jax.Array, *, axis_name: str | None = None) -> jax.Array:
    """Compares which examples excite a layer alike.

        sum over i, j of (G_s - G_t)[i, j]^2 / B^2,   G = f f^T with rows scaled to length 1

    The gradient stops at the teacher. An example of zeros has a row of zeros, which pulls nowhere; its column still does.

    Args:
      student: features `[B, ..., C]`, taken as one vector an example.
      teacher: features `[B, ..., D]`, of any other shape.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for fewer than two axes or unequal batches.

    Reference:
      Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682.

    >>> similarity_preserving(jnp.eye(2), jnp.ones((2, 1)))  # rows of the identity against rows of 1/sqrt 2
    Array(0.2928932, dtype=float32)
    """
    sizes = check_shapes("B ... C", student=student)
    check_shapes("B ... D", {"B": sizes["B"]}, teacher=teacher)
    s, t = (x.reshape(x.shape[0], -1) for x in (wide(student), lax.stop_gradient(wide(teacher))))
    apart = unit(_products(s, axis_name), 1) - unit(_products(t, axis_name), 1)
    return collectives.mean(apart**2, axis_name=axis_name)


def correlation_congruence(
    student: jax.Array,
    teacher: jax.Array,
    *,
    variant: Literal["repdistiller", "paper"] = "repdistiller",
    gamma: ArrayLike = 0.4,
    stop_teacher: bool = False,
    axis_name: str | None = None,
) -> jax.Array:
    """Compares the embeddings of a batch's examples, in one of two ways that share a name.

        "repdistiller": mean over i < B - 1 of  sum over d of  |s - t|[i, d] |s - t|[i + 1, d]
        "paper":        sum over i, j of (K(s) - K(t))[i, j]^2 / B^2

    The first is the benchmarks' code, with weight 0.02: products of neighbouring rows' differences, 0 for a single row.
    In the paper's, K is a Gaussian kernel of rows scaled to length 1, by its Taylor expansion to second order:
    `exp(-2 gamma) (1 + 2 gamma c + (2 gamma c)^2 / 2)`, with c the cosine.

    The method trains an embedding on either side, so the gradient flows through both by default: stop it at the
    teacher's features, before the embedding.

    Args:
      student: embeddings `[B, D]`.
      teacher: embeddings `[B, D]`.
      variant: `"repdistiller"` or `"paper"`.
      gamma: of the paper's kernel, above 0.
      stop_teacher: True stops the gradient at the teacher's embeddings.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0.

    Raises:
      InputError: for other or unequal shapes, or unknown options.

    Reference:
      Peng, Jin, Liu, Li, Wu, Liu, Zhou, Zhang, "Correlation Congruence for Knowledge Distillation", ICCV 2019,
      arXiv 1904.01802.

    >>> correlation_congruence(jnp.array([[1.0], [2.0], [3.0]]), jnp.zeros((3, 1)))  # (1 * 2 + 2 * 3) / 2
    Array(4., dtype=float32)
    """
    check_shapes("B D", student=student, teacher=teacher)
    check_option("variant", variant, lambda v: v in ("repdistiller", "paper"), "'repdistiller' or 'paper'")
    check_positive("gamma", gamma)
    check_flag("stop_teacher", stop_teacher)
    s, t = wide(student), wide(lax.stop_gradient(teacher) if stop_teacher else teacher)
    if variant == "paper":
        return collectives.mean((_gaussian(s, gamma, axis_name) - _gaussian(t, gamma, axis_name)) ** 2, axis_name=axis_name)
    apart = collectives.gather(absolute(s - t), axis_name)
    # All devices hold the same rows here; the average only says so.
    return collectives.average(jnp.sum(apart[:-1] * apart[1:]) / max(len(apart) - 1, 1), axis_name)


def probabilistic_transfer(
    student: jax.Array,
    teacher: jax.Array,
    *,
    variant: Literal["repdistiller", "paper"] = "repdistiller",
    axis_name: str | None = None,
) -> jax.Array:
    """Compares, for each example, the distribution over the others that its cosine similarities make.

        P[i, :] = S[i, :] / sum over j of S[i, j],   S = (1 + cosine) / 2
        "repdistiller": mean over all i, j of P_t log((P_t + e) / (P_s + e)), diagonal kept
        "paper":        sum over i and j != i of the same, P without the diagonal

    e is 1e-7. The gradient stops at the teacher. An example of zeros has cosine 0 with all and gradient 0.

    Args:
      student: pooled features `[B, C]`.
      teacher: pooled features `[B, D]`.
      variant: `"repdistiller"` (the benchmarks; the mean over B^2 is why their weight is 30000) or `"paper"`.
      axis_name: mapped axis that holds the rest of the batch, or None.

    Returns:
      A scalar, at least 0 up to rounding.

    Raises:
      InputError: for other shapes or unequal batches, or an unknown variant.

    Reference:
      Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
      arXiv 1803.10837.

    >>> near, far = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> print(f"{probabilistic_transfer(near, far):.2f}")  # P is 1/2 everywhere, or 1 on the diagonal: log 2 / 2
    0.35
    """
    sizes = check_shapes("B C", student=student)
    check_shapes("B D", sizes, teacher=teacher)
    check_option("variant", variant, lambda v: v in ("repdistiller", "paper"), "'repdistiller' or 'paper'")
    s, t = wide(student), lax.stop_gradient(wide(teacher))
    diagonal = variant == "repdistiller"
    p_s, p_t = _likely(s, diagonal, axis_name), _likely(t, diagonal, axis_name)
    terms = p_t * jnp.log((p_t + _EPSILON) / (p_s + _EPSILON))
    if diagonal:
        return collectives.mean(terms, axis_name=axis_name)
    return collectives.total(jnp.sum(terms), axis_name)


def _products(x: jax.Array, axis_name: str | None) -> jax.Array:
    """The products of this device's rows with all rows: `[b, D] -> [b, B]`."""
    return jnp.einsum("id,jd->ij", x, collectives.gather(x, axis_name), precision="highest")


def _gaussian(x: jax.Array, gamma: ArrayLike, axis_name: str | None) -> jax.Array:
    x = unit(x, 1)
    c = 2 * gamma * _products(x, axis_name)
    return jnp.exp(-2 * wide(gamma)) * (1 + c + c**2 / 2)


def _likely(x: jax.Array, diagonal: bool, axis_name: str | None) -> jax.Array:
    length = root(jnp.sum(x**2, axis=1, keepdims=True))
    # A row of zeros is left out: beside the epsilon alone its gradient would be 1e7.
    x = jnp.where(length > 0, x / (length + _EPSILON), 0.0)
    # A cosine may round to just below -1, which would make a probability negative.
    similarity = jnp.maximum((_products(x, axis_name) + 1) / 2, 0.0)
    if not diagonal:
        similarity = off_diagonal(similarity, axis_name)
    whole = jnp.sum(similarity, axis=1, keepdims=True)
    return similarity / jnp.where(whole > 0, whole, 1.0)
