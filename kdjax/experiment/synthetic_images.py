"""The images that a State of a data-free method makes, or remembers, and what its networks say of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import Net, batch_norms
from kdjax.evaluate import batch_norm_distance


def drawn(generator: Net, latent: int, classes: int | None = None) -> Callable[[Any, jax.Array, int], jax.Array]:
    """Makes `(state, key, count) -> images [count, H, W, C]` of a State with a generator.

    Args:
      generator: the net, whose batch norm takes the statistics of the images it makes.
      latent: length of a latent vector.
      classes: of a conditional generator, which is asked for each in turn; None: it takes latents alone.
    """

    def images(state, key, count):
        z = jax.random.normal(key, (count, latent))
        asked = z if classes is None else {"latent": z, "label": jnp.arange(count) % classes}
        return generator.apply(state.generator.params, state.generator.stats, asked, train=True)[0]["image"]

    return images


def remembered(state: Any, key: jax.Array, count: int) -> jax.Array:
    """Images `[count, H, W, C]` in [0, 1] of a State with a pool, none of those it was given twice before all have come."""
    rows, there = state.pool.rows, state.pool.filled
    order = jnp.argsort(jax.random.uniform(key, there.shape) - there)
    chosen = order[jnp.arange(count) % jnp.maximum(jnp.sum(there), 1)]
    return rows[chosen].astype(jnp.float32) / 255


def newest(state: Any, key: jax.Array, count: int) -> jax.Array:
    """The images `[count, H, W, C]` in [0, 1] that came last into the pool of a State, the last first; black if none did."""
    rows, pushed = state.pool.rows, state.pool.pushed
    return rows[(pushed - 1 - jnp.arange(count)) % len(rows)].astype(jnp.float32) / 255


def by_class(images: Callable[..., jax.Array], teacher: Net) -> Callable[..., jax.Array]:
    """Makes `(state, key, count) -> images [count, H, W, C]`, the same in the order of the classes that the teacher finds.

    Args:
      images: `(state, key, count) -> images [count, H, W, C]`.
      teacher: the net, on one device.
    """

    def ordered(state, key, count):
        made, frozen = images(state, key, count), state.student.given["teacher"]
        logits = teacher.apply(frozen.params, frozen.stats, made, train=False)[0]["logits"]
        return made[jnp.argsort(jnp.argmax(logits, -1), stable=True)]

    return ordered


def class_rows(images: Callable[..., jax.Array], classes: int, columns: int) -> Callable[[Any, jax.Array], jax.Array]:
    """Makes `(state, key) -> images [classes, columns, H, W, C]`, a row of each class that is asked for.

    Args:
      images: `(state, key, count) -> images [count, H, W, C]`, of each class in turn.
      classes: how many there are.
      columns: images of each.
    """

    def rows(state, key):
        made = images(state, key, classes * columns)
        return made.reshape(columns, classes, *made.shape[1:]).swapaxes(0, 1)

    return rows


def judged(images: Callable[..., jax.Array], student: Net, teacher: Net, count: int) -> Callable[[Any], dict[str, Any]]:
    """Makes `state -> ` what teacher and student say of synthetic images, as `evaluate.without_data` takes it.

    Args:
      images: `(state, key, count) -> images [count, H, W, C]`.
      student: the net, on one device.
      teacher: the net, on one device.
      count: of the images.
    """

    def look(state):
        made = images(state, jax.random.key(0), count)
        learner, frozen = state.student.learner, state.student.given["teacher"]
        taps, _ = teacher.apply(frozen.params, frozen.stats, made, train=False)
        own, _ = student.apply(learner.params["student"], learner.stats["student"], made, train=False)
        found = {"image": made, "logits": taps["logits"], "student_logits": own["logits"]}
        if batch_norms(taps, frozen.stats):
            found["batch_norm"] = batch_norm_distance(taps, frozen.stats)
        return found | ({"features": taps["pooled"]} if "pooled" in taps else {})

    return look
