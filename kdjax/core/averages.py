"""The moving average of what a method trains, for evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.core.check import check_count, check_option, check_share
from kdjax.core.ema import ema
from kdjax.core.method import Method
from kdjax.core.state import Follower, is_learner, learners_of


class Averaged(NamedTuple):
    """The State of a method, and the averages of its learners.

    Attributes:
      inner: the method's own State.
      averages: one for each `Learner` in it, in order.
    """

    inner: Any
    averages: tuple[Follower, ...]

    @property
    def step(self) -> jax.Array:
        """Optimisation steps done."""
        return self.inner.step


def averaged(method: Method, decay: float | Callable[[jax.Array], Any] = 0.999) -> Method:
    """The same method, evaluated with moving averages of all that it trains: `a <- a + (1 - decay) (w - a)` behind each step.

    `predict` gives, and `weights` names first, the networks of averaged parameters and statistics. Those that are trained are
    `"online_<name>"` among the weights. The training itself is not changed, and what was averaged before it (targets of views) is
    as it was.

    Args:
      method: any.
      decay: from 0 to 1, or a function of the steps done, such as `lambda step: jnp.minimum(0.999, (1 + step) / (10 + step))`,
        which forgets the first weights soon.

    Reference: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM Journal on Control and Optimization
    1992; with a decay as in Tarvainen and Valpola, Mean Teachers, NeurIPS 2017 (arXiv 1703.01780).
    """
    if not callable(decay):
        check_share(decay=decay)

    def init(key, batch, given, **start):
        return with_averages(method.init(key, batch, given, **start))

    def moved(averages, inner, steps):
        kept = decay(steps) if callable(decay) else decay
        pairs = [((a.params, a.stats), (x.params, x.stats)) for a, x in zip(averages, learners_of(inner), strict=True)]
        return Averaged(inner, tuple(Follower(*_towards(old, new, kept)) for old, new in pairs))

    def step(state, batch, key):
        inner, metrics = method.step(state.inner, batch, key)
        return moved(state.averages, inner, state.step), metrics

    def predict(state, inputs):
        return method.predict(_shown(state), inputs)

    def weights(state):
        now, slow = method.weights(state.inner), method.weights(_shown(state))
        trained = {f"online_{name}": now[name] for name in now if _differ(now[name], slow[name])}
        return slow | trained

    def loss(params, state, batch, key):
        return method.loss(params, state.inner, batch, key)

    def update(state, params, kept):
        return moved(state.averages, method.update(state.inner, params, kept), state.step)

    return Method(init, step, predict, weights, method.needs, loss, update)


def running_mean(start: int, every: int = 1) -> Callable[[jax.Array], jax.Array]:
    """The decay by which `averaged` gives the plain mean of the weights behind the steps `start`, `start + every`, ...

    Until then it is what is trained.

    Args:
      start: steps done, 0 or more; 0 takes the weights that training starts from too.
      every: steps from one to the next.

    Raises:
      InputError: for numbers that are none.

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, Averaging Weights Leads to Wider Optima and Better
    Generalization, UAI 2018 (arXiv 1803.05407).

    >>> decay = running_mean(3, 2)
    >>> [round(float(decay(step)), 2) for step in range(7)]
    [0.0, 0.0, 0.0, 1.0, 0.5, 1.0, 0.67]
    """
    check_option("start", start, lambda s: s >= 0, "a step, 0 or more")
    check_count(every=every)

    def decay(step):
        since = jnp.asarray(step) + 1 - start
        taken = since // every
        return jnp.where(since < 0, 0.0, jnp.where(since % every == 0, taken / (taken + 1), 1.0))

    return decay


def with_averages(inner: Any) -> Averaged:
    """The State of `averaged` where the method's own begins: averages are copies of what is trained.

    >>> from kdjax.core import Learner
    >>> with_averages((Learner({"w": jnp.ones(2)}, {}, ()),)).averages[0].params["w"].tolist()
    [1.0, 1.0]
    """
    return Averaged(inner, tuple(Follower(*jax.tree.map(jnp.copy, (x.params, x.stats))) for x in learners_of(inner)))


def _shown(state: Averaged) -> Any:
    """The State with the averages in the place of what is trained."""
    left = iter(state.averages)

    def one(x):
        if not is_learner(x):
            return x
        average = next(left)
        return x.replace(params=average.params, stats=average.stats)

    return jax.tree.map(one, state.inner, is_leaf=is_learner)


def _towards(old: Any, new: Any, kept: Any) -> Any:
    """Numbers are averaged; counters, and other whole numbers, are the new ones."""

    def one(o, n):
        return jnp.where(jnp.asarray(kept) == 0, n, ema(o, n, kept)) if jnp.issubdtype(n.dtype, jnp.floating) else n

    return jax.tree.map(one, old, new)  # without memory the new ones to the bit


def _differ(one: Any, other: Any) -> bool:
    return any(a is not b for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
