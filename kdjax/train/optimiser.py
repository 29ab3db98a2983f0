"""Optimisers and learning-rate schedules as the papers run them, composed from optax."""

from collections.abc import Sequence
from typing import Any

import jax
import optax

from kdjax.core import InputError, pick
from kdjax.models.positions import EXTRA

NOT_DECAYED = ("positions", *EXTRA)  # parameters of a transformer


def sgd(schedule: Any, *, momentum: float, weight_decay: float, nesterov: bool = False) -> optax.GradientTransformation:
    """SGD with momentum and L2 decay added to the gradient, as in PyTorch.

    `g <- g + weight_decay w; m <- momentum m + g; w <- w - rate m`.
    """
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum, nesterov=nesterov))


def adam(schedule: Any, *, weight_decay: float, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on kernels (AdamW); 0 is plain Adam.

    Biases, the scales of norms, and the positions and tokens of a transformer are exempt, as in DeiT and MAE.
    """
    return optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=_kernels)


def lars(schedule: Any, *, momentum: float, weight_decay: float, eta: float = 1e-3) -> optax.GradientTransformation:
    """LARS in the order of BYOL's code: decay, trust ratio, heavy ball, and the rate last of all.

    `g <- g + weight_decay w; g <- g eta |w| / |g|; m <- momentum m + g; w <- w - rate m`. Biases and the scales of norms are
    exempt from decay and ratio.

    Reference: You, Gitman and Ginsburg, Large Batch Training of Convolutional Networks, 2017 (arXiv 1708.03888).
    """
    return optax.chain(
        optax.masked(optax.add_decayed_weights(weight_decay), _matrices),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=eta), _matrices),
        optax.trace(momentum),
        optax.scale_by_learning_rate(schedule),
    )


def schedule(kind: str, rate: float, *, steps: int, warmup: int = 0, drops: Sequence[float] = (), factor: float = 0.1) -> Any:
    """A learning rate as a function of the optimiser's own step.

    Args:
      kind: `"constant"`, `"cosine"` (to 0 at the end), or `"steps"` (times `factor` at each of `drops`).
      rate: the peak, after `warmup` steps of linear rise from 0.
      steps: length of the run in steps of this optimiser.
      warmup: steps of the rise.
      drops: fractions of the run, each above 0 and below 1, ascending.
      factor: of a drop.

    Raises:
      InputError: for another kind, drops outside the run or out of order, a rise as long as the run.

    >>> rate = schedule("steps", 0.1, steps=10, drops=(0.5,))
    >>> [round(float(rate(step)), 3) for step in (4, 5)]
    [0.1, 0.01]
    """
    if drops and list(drops) != sorted({drop for drop in drops if 0 < drop < 1}):
        raise InputError(f"drops={tuple(drops)} is not accepted: expected fractions of the run, above 0 and below 1, ascending")
    if not 0 <= warmup < max(steps, 1):
        raise InputError(f"warmup={warmup} is not accepted: expected steps, fewer than the {steps} of the run")
    scales: dict[int, float] = {}
    for drop in drops:  # in a short run several may fall on one step
        at = round(drop * steps) - warmup
        scales[at] = scales.get(at, 1.0) * factor
    kinds = {
        "constant": lambda: optax.constant_schedule(rate),
        "cosine": lambda: optax.cosine_decay_schedule(rate, max(steps - warmup, 1)),
        "steps": lambda: optax.piecewise_constant_schedule(rate, scales),
    }
    main = pick("schedule", kind, kinds)()
    return main if warmup == 0 else optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])


OPTIMISERS = {"sgd": sgd, "adam": adam, "lars": lars}


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _kernels(params: Any) -> Any:
    def decays(path, x):
        return x.ndim > 1 and getattr(path[-1], "key", "") not in NOT_DECAYED

    return jax.tree_util.tree_map_with_path(decays, params)
