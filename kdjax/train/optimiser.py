"""Optimisers and learning-rate schedules as the papers run them, composed from optax."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from kdjax.core import InputError, check_option, pick
from kdjax.models.positions import EXTRA

NOT_DECAYED = ("positions", *EXTRA)  # parameters of a transformer
LARS_VARIANTS = ("byol", "fast_moco", "revisit_airl", "larc")


def sgd(
    schedule: Any, *, momentum: float, weight_decay: Any, nesterov: bool = False, clip: Any = 0.0
) -> optax.GradientTransformation:
    """SGD with momentum and L2 decay added to the gradient, as in PyTorch.

    `g <- g + weight_decay w; m <- momentum m + g; w <- w - rate m`, with all gradients together cut to the length `clip` before
    that; 0: they are not. Decay and clip may be functions of the step too.
    """
    return _clipped(clip, optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum, nesterov=nesterov))


def adam(schedule: Any, *, weight_decay: Any, b1: float = 0.9, b2: float = 0.999, clip: Any = 0.0) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on kernels (AdamW); 0 is plain Adam. `clip` as in `sgd`.

    Biases, the scales of norms, and the positions and tokens of a transformer are exempt, as in DeiT and MAE.
    """
    return _clipped(clip, optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=_kernels))


def lars(
    schedule: Any,
    *,
    momentum: float,
    weight_decay: float,
    eta: float = 1e-3,
    variant: str = "byol",
    clip_ratio: bool = False,
    vectors: bool = False,
    vector_rate: float = 1.0,
) -> optax.GradientTransformation:
    """SGD whose steps are a fixed share of each kernel's length; released codes differ in what that share is of.

        "byol":          g <- g + d w;    m <- momentum m + g eta |w| / |g|;       w <- w - rate m
        "fast_moco":     r = eta |w| / (|g| + d |w|);  m <- momentum m + g + d w;  w <- w - rate r m
        "revisit_airl":  r = eta |w| / (|g| + d |w|);  m <- momentum m + rate r (g + d w);  w <- w - m
        "larc":          r = eta |w| / (|g| + d |w|);  m <- momentum m + r (g + d w);  w <- w - rate m

    g is the gradient, d the decay. The first is that of BYOL and Barlow Twins, the last that of apex and of solo-learn. Biases and
    the scales of norms have momentum, but neither decay nor ratio. Where a kernel or its gradient is 0, the ratio is 1; in "larc"
    there is no decay then either.

    Args:
      schedule: the rate, a number or a function of the step.
      momentum: how much of m is kept.
      weight_decay: d.
      eta: the share, "trust coefficient".
      variant: one of these.
      clip_ratio: of "larc" alone, `min(r / rate, 1)` for r, so that a step is one of SGD at the lower of both rates; solo-learn,
        with an eta of 0.02.
      vectors: of "larc" alone, whether biases and the scales of norms have decay and ratio too, as in SwAV.
      vector_rate: factor of the rate of biases and of the scales of norms; 0.024 in Barlow Twins.

    Raises:
      InputError: for another variant, or an option of "larc" with another one.

    Reference: You, Gitman and Ginsburg, Large Batch Training of Convolutional Networks, 2017 (arXiv 1708.03888).
    """
    check_option("variant", variant, lambda v: v in LARS_VARIANTS, " or ".join(map(repr, LARS_VARIANTS)))
    for name, value in {"clip_ratio": clip_ratio, "vectors": vectors}.items():
        check_option(name, value, lambda on: not on or variant == "larc", "False, or the variant 'larc'")
    decay = optax.masked(optax.add_decayed_weights(weight_decay), _matrices)
    heavy_ball, rate = optax.trace(momentum), optax.scale_by_learning_rate(schedule)
    own_rate = optax.masked(optax.scale(vector_rate), _vectors)
    if variant == "byol":
        ratio = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=eta), _matrices)
        return optax.chain(decay, ratio, heavy_ball, rate, own_rate)
    if variant == "larc":
        ratio = _larc(schedule, weight_decay, eta, clip_ratio, vectors)
        return optax.chain(ratio, heavy_ball, rate, own_rate)

    def ratio_of(g, w):
        """Of a raw gradient."""
        if w.ndim < 2:
            return 1.0
        length, pull = optax.safe_norm(w, 0.0), optax.safe_norm(g, 0.0)
        whole = pull + weight_decay * length
        moves = (length > 0) & ((whole if variant == "fast_moco" else pull) > 0)
        return jnp.where(moves, eta * length / jnp.where(moves, whole, 1.0), 1.0)

    within = optax.chain(decay, heavy_ball) if variant == "fast_moco" else decay

    def update(updates, state, params=None):
        ratios = jax.tree.map(ratio_of, updates, params)
        moved, state = within.update(updates, state, params)
        return jax.tree.map(lambda r, m: r * m, ratios, moved), state

    scaled = optax.GradientTransformation(within.init, update)
    after = (rate,) if variant == "fast_moco" else (rate, heavy_ball)
    return optax.chain(scaled, *after, own_rate)


def _larc(schedule: Any, weight_decay: Any, eta: Any, clip: bool, vectors: bool) -> optax.GradientTransformation:
    """`r (g + d w)`, by the rate of its own step where `clip`."""

    def update(updates, state, params=None):
        rate = jnp.asarray(schedule(state) if callable(schedule) else schedule)

        def own(g, w):
            if w.ndim < 2 and not vectors:
                return g
            length, pull = optax.safe_norm(w, 0.0), optax.safe_norm(g, 0.0)
            moves = (length > 0) & (pull > 0)
            ratio = eta * length / jnp.where(moves, pull + weight_decay * length, 1.0)
            if clip:
                ratio = jnp.minimum(ratio / jnp.maximum(rate, 1e-30), 1.0)
            return jnp.where(moves, ratio * (g + weight_decay * w), g)

        return jax.tree.map(own, updates, params), state + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


def schedule(
    kind: str,
    rate: float,
    *,
    steps: int,
    warmup: int = 0,
    drops: Sequence[float] = (),
    factor: float = 0.1,
    last_share: float = 0.0,
) -> Any:
    """A learning rate as a function of the optimiser's own step.

    Args:
      kind: `"constant"`, `"cosine"` (to `last_share` of the peak at the end), or `"steps"` (times `factor` at each of `drops`).
      rate: the peak, after `warmup` steps of linear rise from 0.
      steps: length of the run in steps of this optimiser.
      warmup: steps of the rise.
      drops: fractions of the run, each above 0 and below 1, ascending.
      factor: of a drop.
      last_share: of the peak, at which a cosine ends.

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
        "constant": optax.constant_schedule(rate),
        "cosine": optax.cosine_decay_schedule(rate, max(steps - warmup, 1), last_share),
        "steps": optax.piecewise_constant_schedule(rate, scales),
    }
    main = pick("schedule", kind, kinds)
    return main if warmup == 0 else optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])


OPTIMISERS = {"sgd": sgd, "adam": adam, "lars": lars}


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _vectors(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim < 2, params)


def _clipped(clip: Any, *after: optax.GradientTransformation) -> optax.GradientTransformation:
    if callable(clip):
        return optax.chain(_clip_by(clip), *after)
    off = not isinstance(clip, Tracer) and not clip
    return optax.chain(*([] if off else [optax.clip_by_global_norm(clip)]), *after)


def _clip_by(longest: Callable[[jax.Array], Any]) -> optax.GradientTransformation:
    """Cuts all gradients together to a length of the step."""

    def update(updates, state, params=None):
        updates, _ = optax.clip_by_global_norm(longest(state)).update(updates, optax.EmptyState())
        return updates, state + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


def _kernels(params: Any) -> Any:
    def decays(path, x):
        return x.ndim > 1 and getattr(path[-1], "key", "") not in NOT_DECAYED

    return jax.tree_util.tree_map_with_path(decays, params)
