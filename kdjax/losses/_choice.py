"""Uniform draws without repeats, at a cost that does not grow with what is drawn from."""

import math

import jax
import jax.numpy as jnp
from jax import lax


def choose(key: jax.Array, size: jax.Array, draws: int, *, least: int, most: int) -> jax.Array:
    """Numbers below `size`: every set of `draws` different ones is as likely as any other; with repeats where `size` is smaller.

    Args:
      key: a random key.
      size: how many numbers there are, a traced one.
      draws: K.
      least: a bound of `size` from below, known while tracing: what it rules out is not computed.
      most: a bound from above.

    Returns:
      int32 `[K]`.

    >>> sorted(choose(jax.random.key(0), jnp.int32(4), 4, least=4, most=4).tolist())
    [0, 1, 2, 3]
    """
    few = 2 * draws
    # A few numbers are shuffled; of many, what comes twice is rare enough to be left out.
    found = _shuffled(key, size, draws, min(most, few)) if draws <= most and least < few else None
    if most >= few:
        # On average 2 log 2 = 1.39 draws or fewer are needed for each number: once in 10^6 times these do not suffice.
        tries = math.ceil(1.5 * draws + 4 * math.sqrt(draws))
        many = _different(key, jnp.where(size >= few, size, jnp.iinfo(jnp.int32).max), draws, tries)
        found = many if found is None else jnp.where(size >= few, many, found)
    if least < draws:
        repeats = jax.random.randint(key, (draws,), 0, jnp.maximum(size, 1))
        found = repeats if found is None else jnp.where(size >= draws, found, repeats)
    return found  # type: ignore[return-value]


def _shuffled(key, size, draws, most):
    """The first numbers of a random order of `most`, those from `size` on last."""
    high, low = jax.random.bits(key, (2, most))
    numbers = jnp.arange(most, dtype=jnp.int32)
    last = (numbers >= size).astype(high.dtype) << 31
    # 63 random bits: two that are equal, whose order would not be random, do not occur.
    return lax.sort((last | (high >> 1), low, numbers), num_keys=2)[2][:draws]


def _different(key, size, draws, tries):
    """The first different ones of `tries` independent draws below `size`.

    Renaming the numbers changes neither the law of the draws nor whether enough of them differ, so every sequence of
    different numbers is equally likely; and so it stays when a try with too few is thrown away whole.
    """
    arrivals = jnp.arange(tries, dtype=jnp.int32)

    def attempt(key):
        now, later = jax.random.split(key)
        values = jax.random.randint(now, (tries,), 0, size)
        ranked, came = lax.sort((values, arrivals), num_keys=1, is_stable=True)
        new = jnp.concatenate([jnp.ones(1, bool), ranked[1:] != ranked[:-1]])
        new = jnp.zeros(tries, bool).at[came].set(new, unique_indices=True)
        nth = jnp.cumsum(new.astype(jnp.int32))
        places = jnp.where(new & (nth <= draws), nth - 1, draws)
        return later, jnp.zeros(draws, jnp.int32).at[places].set(values, mode="drop"), nth[-1] >= draws

    return lax.while_loop(lambda carry: ~carry[2], lambda carry: attempt(carry[0]), attempt(key))[1]
