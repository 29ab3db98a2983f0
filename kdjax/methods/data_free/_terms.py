"""Terms that generators and pixels are shaped by, beside the losses themselves."""

from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import InputError, batch_norms, check_option
from kdjax.core.arrays import Weight
from kdjax.core.terms import weight_at
from kdjax.methods.data_free._generator import SyntheticBatch, is_zero

_FORMS = {"norm": losses.batch_norm_statistics, "gaussian": losses.batch_norm_gaussian}


def behind(steps: int, weight: Weight) -> Weight:
    """The factor of a term that counts behind so many steps, and not in them.

    Args:
      steps: of a warm-up; 0: there is none.
      weight: of the term from then on.

    >>> [float(behind(2, lambda step: 10.0 * step)(step)) for step in (1, 2)]
    [0.0, 20.0]
    """
    if not steps or is_zero(weight):
        return weight
    return lambda step: jnp.where(step < steps, 0.0, weight_at(weight, step))


def check_batch_norm(seen: SyntheticBatch, weight: object) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """The teacher's batch-norm layers, as `core.batch_norms` gives them.

    Args:
      seen: the batch.
      weight: of the term that reads them, `batch_norm`.

    Raises:
      InputError: for a teacher without batch norm, unless the weight is 0.
    """
    layers = batch_norms(seen.teacher, seen.teacher_stats)
    if not layers and not is_zero(weight):
        raise InputError(f"batch_norm={weight} is not accepted: this teacher has no batch-norm layers; 0 leaves the term out")
    return layers


def batch_norm_term(seen: SyntheticBatch, weight: object, form: Literal["norm", "gaussian"] = "norm") -> jax.Array:
    """The distance of a batch's statistics from those of the teacher's batch-norm layers, summed over the layers.

    Args:
      seen: the batch.
      weight: of the term, `batch_norm`.
      form: `losses.batch_norm_statistics` or `losses.batch_norm_gaussian`.

    Raises:
      InputError: for a teacher without batch norm, unless the weight is 0.
    """
    check_option("form", form, lambda f: f in _FORMS, "'norm' or 'gaussian'")
    layers = check_batch_norm(seen, weight)
    return sum((_FORMS[form](*layer, axis_name=seen.axis_name) for layer in layers), jnp.zeros(()))


def disagreement(seen: SyntheticBatch) -> jax.Array:
    """`-KL(p_t || p_s)` `[B]` at T = 1: small where teacher and student differ; gradients flow through both."""
    return -losses.kl_distillation(seen.student["logits"], seen.teacher["logits"], temperature=1.0, stop_teacher=False)
