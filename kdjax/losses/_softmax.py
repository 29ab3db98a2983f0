"""Softmax where probabilities may be 0 (masked classes, padded heads, saturated logits): everywhere 0 log 0 = 0."""

from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core.arrays import ArrayLike
from kdjax.losses._check import wide


def tempered(logits: Any, temperature: ArrayLike) -> jax.Array:
    """`logits / temperature` in float32 or wider; a logit of -inf stays, with gradient 0 on both sides.

    The temperature is one number, or one a row `[...]` of logits `[..., K]`.
    """
    z, t = wide(logits), wide(temperature)
    out = jnp.isneginf(z)
    # Not divided: the gradient to a temperature would be 0 times infinity.
    return jnp.where(out, -jnp.inf, jnp.where(out, 0.0, z) / (t[..., None] if t.ndim else t))


def log_probabilities(logits: Any, temperature: ArrayLike = 1.0) -> jax.Array:
    """`log softmax(logits / temperature)` over the last axis: -inf for a masked class.

    >>> [round(x, 4) for x in log_probabilities(jnp.array([0.0, 0.0, -jnp.inf])).tolist()]
    [-0.6931, -0.6931, -inf]
    """
    return jax.nn.log_softmax(tempered(logits, temperature))


def probabilities(logits: Any, temperature: ArrayLike = 1.0) -> jax.Array:
    """`softmax(logits / temperature)` over the last axis: 0 for a masked class."""
    return jax.nn.softmax(tempered(logits, temperature))


def log_sum(z: jax.Array) -> jax.Array:
    """`log sum exp z` over the last axis, which it keeps with size 1: -inf, with gradient 0, where nothing is left to sum."""
    none = jnp.all(jnp.isneginf(z), axis=-1, keepdims=True)
    return jnp.where(none, -jnp.inf, jax.nn.logsumexp(jnp.where(none, 0.0, z), axis=-1, keepdims=True))


def log_except(z: jax.Array, where: jax.Array) -> jax.Array:
    """`log (1 - p)` for the probability p of the classes `where`, from their logits `[..., K]`: with all digits where p is near 1.

    >>> print(f"{log_except(jnp.zeros(4), jnp.arange(4) == 1):.4f}")  # log 3/4
    -0.2877
    """
    return (log_sum(jnp.where(where, -jnp.inf, z)) - log_sum(z))[..., 0]


def times_log(weight: jax.Array, log: jax.Array) -> jax.Array:
    """`weight log`: 0, with gradient 0, where the weight is 0 and the logarithm -inf.

    >>> times_log(jnp.array([0.0, 0.5]), jnp.array([-jnp.inf, 2.0])).tolist()
    [0.0, 1.0]
    """
    return weight * jnp.where((weight == 0) & jnp.isneginf(log), 0.0, log)


def divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """The terms `p (log p - log q)`: 0, with gradient 0, where p is 0, whatever q is; infinite where q alone is.

    >>> [round(x, 4) for x in divergence(jnp.log(jnp.array([1.0, 0.0])), jnp.log(jnp.array([0.5, 0.0]))).tolist()]
    [0.6931, 0.0]
    """
    p = jnp.exp(log_p)
    # Also where p underflows to 0 and q is masked; what is NaN stays NaN, but -inf less -inf makes none for debug_nans to find.
    log_p, log_q = (jnp.where(p == 0, 0.0, log) for log in (log_p, log_q))
    return p * (log_p - log_q)
