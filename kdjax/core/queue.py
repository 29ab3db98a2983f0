"""A ring buffer of rows as a pytree: negatives, banks, pools of synthetic images."""

import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import InputError
from kdjax.core.collectives import gather_replicated
from kdjax.core.node import Node


class Queue(Node):
    """The newest rows.

    Attributes:
      rows: `[size, ...]`.
      pushed: int32 scalar, how many rows were ever pushed; the next one goes to `pushed % size`.
    """

    rows: jax.Array
    pushed: jax.Array

    @property
    def filled(self) -> jax.Array:
        """Mask `[size]` of the rows that were pushed, as against those the queue began with."""
        return jnp.arange(self.rows.shape[0]) < self.pushed


def new_queue(rows: jax.Array) -> Queue:
    """A queue that begins with `rows` `[size, ...]` (random directions, zeros) and counts none of them as pushed."""
    return Queue(rows, jnp.int32(0))


def push(queue: Queue, rows: jax.Array, axis_name: AxisName = None) -> Queue:
    """Overwrites the oldest rows by `rows` `[B, ...]`, those of all devices in global order.

    >>> q = push(new_queue(jnp.zeros((3, 1))), jnp.array([[1.0], [2.0]]))
    >>> q.rows[:, 0].tolist(), q.filled.tolist()
    ([1.0, 2.0, 0.0], [True, True, False])
    """
    rows = gather_replicated(rows, axis_name)
    size, n = queue.rows.shape[0], rows.shape[0]
    if n > size:
        raise InputError(f"a queue of {size} rows cannot take {n} at once: its size must be at least the global batch")
    places = (queue.pushed + jnp.arange(n, dtype=jnp.int32)) % size
    return Queue(queue.rows.at[places].set(rows.astype(queue.rows.dtype)), queue.pushed + n)
