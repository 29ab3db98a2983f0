"""A teacher of whom only the largest logits are known."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError
from kdjax.core.mesh import on_any_mesh, places_of
from kdjax.core.shapes import check_shapes
from kdjax.losses._check import temperatures, wide
from kdjax.losses._positions import counted, shown
from kdjax.losses._softmax import divergence, log_sum, tempered


def top_k_kl(
    student: ArrayLike,
    values: ArrayLike,
    indices: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    rest: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """`kl_distillation` from the k largest logits of a teacher, its other classes taken together as one.

        T^2 ( sum_j p_t[j] (log p_t[j] - log p_s[indices[j]])  +  r_t (log r_t - log r_s) )

    `r` is what each side gives to all classes that are not among the indices. It is never above the divergence over all K classes,
    and equal to it where k = K. The gradient stops at the teacher.

    Args:
      student: logits `[..., K]`.
      values: the teacher's logits at the indices, `[..., k]`.
      indices: which classes they are, integers `[..., k]` in [0, K), each once.
      temperature: T above 0, one number or an array that broadcasts with the rows `[...]`.
      rest: `log sum exp(logits / T)` over the teacher's other classes, `[...]`; None: they have no mass.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, in nats times T^2.

    Raises:
      InputError: for other shapes, indices that are not integers, or a temperature that is not above 0.

    Reference:
      Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", NIPS Deep Learning Workshop 2014,
      arXiv 1503.02531, of a teacher that is kept in part.

    >>> from kdjax.losses import kl_distillation
    >>> student, teacher = jnp.array([0.0, 1.0, 2.0]), jnp.array([2.0, 0.0, 0.0])
    >>> values, indices = jax.lax.top_k(teacher, 3)
    >>> bool(jnp.isclose(top_k_kl(student, values, indices), kl_distillation(student, teacher, temperature=1.0)))
    True
    """
    sizes = check_shapes("... K", student=student)
    sizes = check_shapes("... k", {"...": sizes["..."]}, values=values, indices=indices)
    t = temperatures(temperature, np.shape(student)[:-1])
    indices = jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise InputError(f"indices has type {indices.dtype}: expected integer class numbers")
    if rest is not None:
        check_shapes("...", sizes, rest=rest)
    student, values = shown(where, student, values)
    z = tempered(student, t)
    log_s = on_any_mesh(_known_and_others, lambda z, indices: places_of(z))(z, indices) - log_sum(z)
    tail = jnp.full_like(log_s[..., 0], -jnp.inf) if rest is None else wide(rest)
    if where is not None:
        tail = jnp.where(jnp.asarray(where), tail, -jnp.inf)
    theirs = lax.stop_gradient(jnp.concatenate([tempered(values, t), tail[..., None]], -1))
    log_t = theirs - log_sum(theirs)
    return counted(t**2 * jnp.sum(divergence(log_t, log_s), axis=-1), where)


def _known_and_others(z: jax.Array, indices: jax.Array) -> jax.Array:
    """The logits at the indices, and behind them `log sum exp` of all others, `[..., k + 1]`."""
    others = jnp.put_along_axis(z, indices, -jnp.inf, axis=-1, inplace=False)
    return jnp.concatenate([jnp.take_along_axis(z, indices, axis=-1), log_sum(others)], -1)
