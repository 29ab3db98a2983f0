"""Losses as pure functions of arrays.

A loss of single examples returns `[B]` and is never reduced over the batch. A loss whose rows see each other returns a
scalar and takes `axis_name`, the mapped axis that holds the rest of the batch. The student comes first; options are
keyword-only, and numbers among them may be traced. Sums run in float32 or wider. A bad shape or option raises
`InputError` with one line.
"""

from kdjax.losses.bootstrap import byol
from kdjax.losses.inversion import (
    activation_norm,
    batch_norm_statistics,
    class_balance,
    image_prior,
    one_hot_confidence,
)
from kdjax.losses.logits import cross_entropy, jensen_shannon, kl_distillation

kd = kl_distillation

__all__ = [
    "activation_norm",
    "batch_norm_statistics",
    "byol",
    "class_balance",
    "cross_entropy",
    "image_prior",
    "jensen_shannon",
    "kd",
    "kl_distillation",
    "one_hot_confidence",
]
