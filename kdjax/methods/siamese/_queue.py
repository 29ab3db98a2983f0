"""Queues of embeddings."""

import jax

from kdjax.core import Queue, check_option, new_queue, unit


def random_queue(key: jax.Array, size: int, embeddings: jax.Array) -> Queue:
    """A queue of random directions for batches of embeddings.

    Args:
      key: random key.
      size: how many rows it has, a multiple of the batch.
      embeddings: a batch `[B, D]`, or its shape.

    Raises:
      InputError: for another size.
    """
    rows, width = embeddings.shape
    check_option("queue", size, lambda n: n >= 1 and n % rows == 0, f"a multiple of the batch, {rows}")
    return new_queue(unit(jax.random.normal(key, (size, width))))
