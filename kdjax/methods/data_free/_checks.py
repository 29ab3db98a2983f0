"""What data-free methods are given, and refuse."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.core import InputError, Learner, Net, check_option


def check_made(batch: Mapping[str, Any]) -> None:
    """Refuses a batch with real images.

    >>> check_made({"index": jnp.arange(4)})
    """
    if "image" in batch:
        raise InputError("a batch with 'image' is not accepted: a data-free method makes its images; expected 'index' alone")


def check_classes(classes: int | None, logits: jax.Array) -> None:
    """Refuses another number of classes than a teacher tells apart, `logits` `[B, K]`; None: no class is asked for."""
    check_option("classes", classes, lambda n: n in (None, logits.shape[-1]), f"{logits.shape[-1]}, those of the teacher")


def check_asked(generator: Net, maker: Learner, latent: int, classes: int | None) -> None:
    """Refuses a generator of other classes than it is asked for; shares of them tell how many it knows, numbers do not."""
    if classes is None:
        return
    shares = {"latent": jnp.zeros((2, latent)), "label": jnp.zeros((2, classes))}
    try:
        jax.eval_shape(lambda: generator.apply(maker.params, maker.stats, shares, train=True))
    except InputError as error:
        raise InputError(f"classes={classes} is not accepted: {error}") from None
    except (TypeError, ValueError):  # it takes numbers alone
        return
