"""Distillation of transformers: DeiT's distillation token and TinyMIM's relations of tokens."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError, check_option
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import check_number, wide
from kdjax.losses._positions import mean_of_each, shown
from kdjax.losses._softmax import divergence, log_probabilities
from kdjax.losses.logits import cross_entropy, kl_distillation

Heads = Sequence[ArrayLike] | jax.Array | np.ndarray  # queries, keys and values


def deit_hard(student_dist: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """The cross-entropy of the distillation token's prediction with the teacher's decision.

        -log softmax(student_dist)[argmax teacher]

    Of several equal largest logits of the teacher the first counts. No gradient flows into the teacher. The objective adds the
    label's cross-entropy at the class token: `0.5 CE + 0.5 deit_hard`. A student without the token passes its class logits.

    Args:
      student_dist: logits `[..., K]` of the head on the distillation token.
      teacher: logits `[..., K]`.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats.

    Raises:
      InputError: for other shapes.

    Reference:
      Touvron, Cord, Douze, Massa, Sablayrolles, Jégou, "Training data-efficient image transformers & distillation through
      attention", ICML 2021, arXiv 2012.12877.

    >>> print(f"{deit_hard(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([[3.0, 1.0, 2.0]]))[0]:.4f}")
    0.6931
    """
    check_shapes("... K", student_dist=student_dist, teacher=teacher)
    student_dist, teacher = shown(where, student_dist, teacher)
    return cross_entropy(student_dist, jnp.argmax(teacher, axis=-1), where=where)


def deit_soft(
    student_dist: ArrayLike,
    teacher: ArrayLike,
    *,
    temperature: ArrayLike = 3.0,
    reduction: Literal["batchmean", "numel"] = "batchmean",
    where: ArrayLike | None = None,
) -> jax.Array:
    """The divergence of the distillation token's softened prediction from the teacher's, times the squared temperature.

        tau^2 KL(softmax(teacher / tau) || softmax(student_dist / tau)),   divided by K for `"numel"`

    The gradient stops at the teacher. The paper's objective is `0.9 CE + 0.1 deit_soft` at tau = 3.

    Args:
      student_dist: logits `[..., K]` of the head on the distillation token.
      teacher: logits `[..., K]`.
      temperature: tau above 0, one number or an array that broadcasts with the rows `[...]`; the paper has 3, the authors' code 1.
      reduction: how the mean over the batch comes out: `"batchmean"` (the paper, default) or `"numel"` (the authors' code, which
        divides by B K, so that its term is K times weaker).
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times tau^2.

    Raises:
      InputError: for other shapes, a temperature that is not above 0, or another reduction.

    Reference:
      Touvron, Cord, Douze, Massa, Sablayrolles, Jégou, "Training data-efficient image transformers & distillation through
      attention", ICML 2021, arXiv 2012.12877.

    >>> logits = jnp.array([[2.0, 0.0, -1.0]])
    >>> float(deit_soft(logits, logits)[0])
    0.0
    """
    check_shapes("... K", student_dist=student_dist, teacher=teacher)
    check_option("reduction", reduction, lambda v: v in ("batchmean", "numel"), "'batchmean' or 'numel'")
    each = kl_distillation(student_dist, teacher, temperature=temperature, where=where)
    return each / np.shape(teacher)[-1] if reduction == "numel" else each


def token_relation(
    student: Heads,
    teacher: Heads,
    *,
    query_key: ArrayLike = 1.0,
    value_value: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """How far two attention blocks are apart in which token relates to which.

        query_key KL(R_qk(t) || R_qk(s)) + value_value KL(R_vv(t) || R_vv(s)),   R_ab = softmax(a b' / sqrt(D))

    The divergence is summed over the last axis of the relations and averaged over heads and tokens. Each side has its own width D
    of a head; the number of heads must be the same. The gradient stops at the teacher.

    Args:
      student: the queries, keys and values of one block after its layer norm and projection, three arrays `[B, H, N, D]` of H heads
        and N tokens; or one array `[3, B, H, N, D]`.
      teacher: the same of the teacher, with its own D.
      query_key: weight of the relations of queries to keys, at least 0.
      value_value: weight of the relations of values to values, at least 0.
      where: bool `[B, N]`, the tokens that count: others neither relate nor are related to. None: all count.

    Returns:
      `[B]`, in nats.

    Raises:
      InputError: for other shapes, or a negative weight.

    Reference:
      Ren, Wei, Zhang, Hu, "TinyMIM: An Empirical Study of Distilling MIM Pre-trained Models", CVPR 2023, arXiv 2301.01296.
      Differs from the authors' code in that no logarithm of a rounded softmax is taken.

    >>> heads = jnp.arange(24.0).reshape(3, 1, 2, 2, 2)
    >>> float(token_relation(heads, heads)[0])
    0.0
    """
    sizes = None
    for who, heads, layout in (("student", student, "B H N D"), ("teacher", teacher, "B H N E")):
        if len(heads) != 3:
            raise InputError(f"{who} has {len(heads)} entries: expected queries, keys and values, three arrays [B, H, N, D]")
        parts = {f"{who} {part}": x for part, x in zip(("query", "key", "value"), heads, strict=True)}
        sizes = check_shapes(layout, sizes, **parts)
    for name, weight in (("query_key", query_key), ("value_value", value_value)):
        check_number(name, weight, lambda v: 0 <= v < math.inf, "a finite number, at least 0")

    heads = (wide(x).swapaxes(1, 2) for x in (*student, *teacher))  # tokens in front of heads
    q_s, k_s, v_s, *theirs = (x.swapaxes(1, 2) for x in shown(where, *heads, axes=2))
    q_t, k_t, v_t = lax.stop_gradient(theirs)
    queries = _divergence(_log_relations(q_s, k_s, where), _log_relations(q_t, k_t, where), where)
    values = _divergence(_log_relations(v_s, v_s, where), _log_relations(v_t, v_t, where), where)
    return wide(query_key) * queries + wide(value_value) * values


def _log_relations(a: jax.Array, b: jax.Array, where: ArrayLike | None) -> jax.Array:
    scores = jnp.einsum("bhnd,bhmd->bhnm", a, b, precision=lax.Precision.HIGHEST)
    if where is not None:
        kept = jnp.asarray(where)
        # Where no token counts, none is left out: a softmax over nothing is not a number.
        kept |= ~jnp.any(kept, axis=1, keepdims=True)
        scores = jnp.where(kept[:, None, None], scores, -jnp.inf)
    return log_probabilities(scores, math.sqrt(a.shape[-1]))


def _divergence(log_s: jax.Array, log_t: jax.Array, where: ArrayLike | None) -> jax.Array:
    each = jnp.mean(jnp.sum(divergence(log_t, log_s), axis=-1), axis=1)
    return mean_of_each(each[..., None], where)
