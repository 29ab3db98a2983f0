"""The contracts: what a net, a state and a method are, and the one way to learn."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kdjax.core.arrays import ArrayLike, AxisName, Weight
from kdjax.core.averages import averaged, running_mean
from kdjax.core.batch_statistics import estimate_statistics
from kdjax.core.chain import chain
from kdjax.core.check import InputError, check_count, check_option, check_positive, check_share, nearest, pick
from kdjax.core.collectives import gather, gather_replicated, mean, offset, pmean, psum
from kdjax.core.donate import donating, on_parts
from kdjax.core.ema import cosine_to_one, ema
from kdjax.core.equinox_net import from_equinox
from kdjax.core.fast_compile import jit_fast_compile
from kdjax.core.k_means import euclidean_k_means, spherical_k_means
from kdjax.core.keys import example_keys, row_keys, row_normal
from kdjax.core.linen_net import from_linen
from kdjax.core.memory import check_memory, memory_available
from kdjax.core.method import Batch, Method, Metrics, read_by_name
from kdjax.core.net import Net, batch_norms, normalised
from kdjax.core.nnx_net import from_nnx, nnx_weights
from kdjax.core.node import Node, static
from kdjax.core.norm_rescale import norm_rescale
from kdjax.core.pool import average_pool, match_sizes, nearest_resize
from kdjax.core.queue import Queue, new_queue, push
from kdjax.core.schedules import cyclic, cyclic_schedule, linear_warmup, sigmoid_rampup
from kdjax.core.state import Follower, Frozen, Learner, join, map_by_kind, split
from kdjax.core.terms import masked_loss, weighted_sum, weights_at, with_label_weights
from kdjax.core.unit import unit

if TYPE_CHECKING:
    from kdjax.core.ascent import ascend
    from kdjax.core.gradients import apply_gradients, learn, mean_grad, new_learner
    from kdjax.core.one_loss import descent, learner_of
    from kdjax.core.updates import by_part, check_optimiser, freeze, keep_unit_columns, skip_zero_gradients, with_norms

__all__ = [
    "ArrayLike", "AxisName", "Batch", "Follower", "Frozen", "InputError", "Learner", "Method", "Metrics", "Net", "Node",
    "Queue", "Weight", "apply_gradients", "ascend", "average_pool", "averaged", "batch_norms", "by_part", "chain",
    "check_count", "check_memory", "check_optimiser", "check_option", "check_positive", "check_share", "cosine_to_one",
    "cyclic", "cyclic_schedule", "descent", "donating", "ema", "estimate_statistics", "euclidean_k_means", "example_keys",
    "freeze", "from_equinox", "from_linen", "from_nnx", "gather", "gather_replicated", "jit_fast_compile", "join",
    "keep_unit_columns", "learn", "learner_of", "linear_warmup", "map_by_kind", "masked_loss", "match_sizes", "mean",
    "mean_grad", "memory_available", "nearest", "nearest_resize", "new_learner", "new_queue", "nnx_weights", "norm_rescale",
    "normalised", "offset", "on_parts", "pick", "pmean", "psum", "push", "read_by_name", "row_keys", "row_normal",
    "running_mean", "sigmoid_rampup", "skip_zero_gradients", "spherical_k_means", "split", "static", "unit", "weighted_sum",
    "weights_at", "with_label_weights", "with_norms",
]  # fmt: skip

_WITH_OPTAX = {  # imported when they are asked for: a loss has no use for optax
    "ascent": ("ascend",),
    "gradients": ("apply_gradients", "learn", "mean_grad", "new_learner"),
    "one_loss": ("descent", "learner_of"),
    "updates": ("by_part", "check_optimiser", "freeze", "keep_unit_columns", "skip_zero_gradients", "with_norms"),
}


if not TYPE_CHECKING:  # to a type checker every name would be one that is there

    def __getattr__(name: str) -> Any:
        for file, names in _WITH_OPTAX.items():
            if name in names:
                return getattr(import_module(f"kdjax.core.{file}"), name)
        raise AttributeError(f"module 'kdjax.core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
