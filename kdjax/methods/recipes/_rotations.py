"""Images in all four rotations, and classifiers that tell class and rotation (`models.branches`)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.augment import rotations
from kdjax.core import InputError, masked_loss


def four_rotations(images: jax.Array) -> jax.Array:
    """Images `[B, H, H, C]` in their four rotations `[4 B, H, H, C]`, those of an image one after another."""
    return jax.vmap(rotations)(images).reshape(-1, *images.shape[1:])


def joint_exits(taps: Mapping[str, jax.Array]) -> list[jax.Array]:
    """The joint logits of all branches, in order.

    Raises:
      InputError: where there are none.
    """
    found = sorted((name for name in taps if name.startswith("joint")), key=lambda name: int(name.removeprefix("joint")))
    if not found:
        raise InputError("a net has no branches: expected the taps 'joint1', ... of models.branches")
    return [taps[name] for name in found]


def joint_labels_term(taps: Mapping[str, jax.Array], batch: Mapping[str, Any]) -> jax.Array:
    """The cross-entropy of all branches with class and rotation, `[B]`: summed over branches, the mean over rotations."""
    return masked_loss(_joint_cross_entropy, jnp.stack(joint_exits(taps)), batch)


def _joint_cross_entropy(exits, labels):
    return jnp.mean(losses.joint_cross_entropy(list(exits), labels).reshape(-1, 4), 1)
