"""Progressive self-knowledge distillation."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdjax import losses
from kdjax.core import InputError, Net, check_count, check_share, gather_replicated
from kdjax.core.arrays import ArrayLike, Weight
from kdjax.core.collectives import take
from kdjax.methods.recipes import Objective, method_of


def ps_kd_objective(
    *,
    labels: ArrayLike,
    numbers: ArrayLike | None = None,
    steps_per_epoch: int,
    epochs: int,
    weight: Weight = 1.0,
    alpha: float = 0.8,
) -> Objective:
    """The labels are softened by what the network said of each image an epoch ago, more and more.

    `L = -sum_k q_k log softmax(z)_k` with `q = (1 - a_e) onehot(y) + a_e P[i]` and `a_e = alpha (e + 1) / E` in epoch e, from 0.
    The bank P `[N, K]` begins with the labels; after use its row i becomes `softmax(z)` of the same pass. The term takes the place
    of the labels' cross-entropy.

    Args:
      labels: class numbers `[N]` of all training images; all have one.
      numbers: the `"index"` `[N]` of these images in batches, 0 or more; None: 0 to N - 1.
      steps_per_epoch: of a run.
      epochs: E.
      weight: factor of the term.
      alpha: how much the last epoch's labels are softened, from 0 to 1.

    Raises:
      InputError: for an image without a label, or options out of range.

    Reference: Kim et al., Self-Knowledge Distillation with Progressive Refinement of Targets, ICCV 2021 (arXiv 2006.12000). In the
    authors' code an image that the first epoch left out has a target of zeros at first; here it has its label.
    """
    known = np.asarray(labels)
    if known.ndim != 1 or not known.size or known.min() < 0:
        raise InputError(
            f"labels {list(known.shape)} hold {(known < 0).sum()} images without one: expected class numbers [N] of all"
        )
    check_count(steps_per_epoch=steps_per_epoch, epochs=epochs)
    check_share(alpha=alpha)
    numbers = np.arange(len(known)) if numbers is None else np.asarray(numbers)
    row_of = np.full(numbers.max() + 1, -1, np.int32)
    row_of[numbers] = np.arange(len(known))

    def init(key, seen):
        return {}, {"bank": jax.nn.one_hot(known, seen.student["logits"].shape[-1])}

    def apply(params, stats, seen, *, train, key=None):
        rows, axis, logits = take(jnp.asarray(row_of), seen.batch["index"]), seen.axis_name, seen.student["logits"]
        # All devices hold the whole bank, and write what any of them found.
        said = gather_replicated(lax.stop_gradient(jax.nn.softmax(logits)), axis)
        found = {"past": take(stats["bank"], rows)}
        return found, {"bank": stats["bank"].at[gather_replicated(rows, axis)].set(said)}

    def terms(seen, adapted):
        logits = seen.student["logits"]
        share = alpha * jnp.minimum(seen.step // steps_per_epoch + 1, epochs) / epochs
        targets = (1 - share) * jax.nn.one_hot(seen.batch["label"], logits.shape[-1]) + share * adapted["past"]
        # A scalar: slices of an accumulated batch would each have a bank of their own.
        return {"softened_labels": jnp.mean(losses.cross_entropy(logits, targets))}

    return Objective(terms, {"softened_labels": weight}, Net(init, apply), needs=())


ps_kd = method_of(ps_kd_objective, label_weight=None, taught=False, columns=("image", "label", "index"))
