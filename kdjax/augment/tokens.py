"""Texts in which some tokens are hidden, to be told from the others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.core.check import check_option


def masked_tokens(*, tokens: int = 256, share: float = 0.15) -> Callable[[jax.Array, dict], dict]:
    """The augmentation by which a network learns texts without labels: some tokens are hidden, and are what it is to tell.

    Each token is chosen with the chance `share`; of the chosen, 8 of 10 become the mask, the token number `tokens`, one of 10 any
    token, and the others stay. The labels are what was there, and -1 where nothing was chosen: so `methods.supervised` learns them.

    Args:
      tokens: how many there are without the mask.
      share: of the tokens that are chosen, above 0 and at most 1.

    Returns:
      `(keys [B], batch) -> batch` with new `batch["tokens"]` and `batch["label"]`, both int32 `[B, T]`.

    Raises:
      InputError: for a share out of range.

    Reference: Devlin, Chang, Lee and Toutanova, BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding,
    NAACL 2019 (arXiv 1810.04805).

    >>> batch = masked_tokens(tokens=9, share=1.0)(jax.random.split(jax.random.key(0), 1), {"tokens": jnp.arange(8)[None]})
    >>> batch["label"].tolist(), int((batch["tokens"] == 9).sum())
    ([[0, 1, 2, 3, 4, 5, 6, 7]], 7)
    """
    check_option("share", share, lambda s: 0 < s <= 1, "a share above 0, at most 1")

    def one(key, text):
        draw, other = jax.random.split(key)
        lot = jax.random.uniform(draw, text.shape) / share  # below 1: chosen
        drawn = jax.random.randint(other, text.shape, 0, tokens)
        seen = jnp.where(lot < 0.8, tokens, jnp.where(lot < 0.9, drawn, text))
        return {"tokens": seen.astype(jnp.int32), "label": jnp.where(lot < 1, text, -1).astype(jnp.int32)}

    return lambda keys, batch: {**batch, **jax.vmap(one)(keys, batch["tokens"])}
