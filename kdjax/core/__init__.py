"""The contracts: what a net, a state and a method are, and the one way to learn."""

from kdjax.core.chain import chain
from kdjax.core.check import InputError, check_option, nearest, pick
from kdjax.core.collectives import average, everywhere, gather, mean, offset, total
from kdjax.core.donate import donating, on_parts
from kdjax.core.ema import cosine_to_one, ema, linear_warmup
from kdjax.core.keys import example_keys, row_keys, row_normal
from kdjax.core.learn import descend, learn, mean_grad, new_learner
from kdjax.core.memory import check_memory, memory_available
from kdjax.core.method import Batch, Method, Metrics, read_by_name
from kdjax.core.net import Net, batch_norms, from_linen, from_nnx, normalised
from kdjax.core.once import jit_once
from kdjax.core.pool import average_pool, match_sizes, nearest_resize
from kdjax.core.queue import Queue, new_queue, push
from kdjax.core.state import Follower, Frozen, Learner, join, map_by_kind, split
from kdjax.core.terms import labelled, weigh_labels, weighted_sum

__all__ = [
    "Batch", "Follower", "Frozen", "InputError", "Learner", "Method", "Metrics", "Net", "Queue", "average", "average_pool",
    "batch_norms", "chain", "check_memory", "check_option", "cosine_to_one", "descend", "donating", "ema", "everywhere",
    "example_keys", "from_linen", "from_nnx", "gather", "jit_once", "join", "labelled", "learn", "linear_warmup", "map_by_kind",
    "match_sizes", "mean", "mean_grad", "memory_available", "nearest", "nearest_resize", "new_learner", "new_queue", "normalised",
    "offset", "on_parts", "pick", "push", "read_by_name", "row_keys", "row_normal", "split", "total", "weigh_labels",
    "weighted_sum",
]  # fmt: skip
