"""What methods share that learn from several views of an image: online nets, followers of some of them, and a memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import (
    Follower,
    Learner,
    Method,
    Net,
    chain,
    descent,
    ema,
    masked_loss,
    pmean,
    unit,
    weighted_sum,
    weights_at,
)
from kdjax.core.arrays import AxisName
from kdjax.core.node import Node, static
from kdjax.core.start import started
from kdjax.methods.recipes import _passes


class Views(NamedTuple):
    """Nets that learn from views.

    Attributes:
      online: what is trained; params and stats by the names of the nets.
      target: the followers of some of them; None where there are none.
      memory: what the objective keeps from step to step: a queue, a centre, assignments.
      step: optimisation steps done.
    """

    online: Learner
    target: Follower | None
    memory: Any
    step: jax.Array


class ViewOutputs(Node):
    """What an objective sees of one batch.

    Attributes:
      online: the taps of all online nets, a dict for each view they see, in training mode.
      target: those of the followers likewise; no gradient flows into them.
      params: the online parameters by the names of the nets.
      memory: what the last step left.
      batch: the batch itself.
      key: for what is drawn, another one for each step.
      step: optimisation steps done, int32.
      axis_name: mapped axis that holds the rest of the batch, or None.
    """

    online: tuple[dict[str, jax.Array], ...]
    target: tuple[dict[str, jax.Array], ...]
    params: dict[str, Any]
    memory: Any
    batch: dict[str, Any]
    key: jax.Array
    step: jax.Array
    axis_name: AxisName = static(default=None)


def views(
    nets: Mapping[str, Net],
    tx: optax.GradientTransformation,
    objective: Callable[[ViewOutputs], tuple[Mapping[str, Any], Any]],
    *,
    taps: Mapping[str, str] | None = None,
    trained_as: Mapping[str, Net] | None = None,
    weights: Mapping[str, Any] | None = None,
    follow: Sequence[str] = (),
    decay: Callable[[jax.Array], Any] | None = None,
    starts: Literal["copy", "own"] = "copy",
    online_sees: Sequence[int] | None = None,
    target_sees: Sequence[int] | None = None,
    together: bool = False,
    ships: Literal["online", "target"] = "online",
    memory: Callable[[jax.Array, ViewOutputs], Any] | None = None,
    probe: Net | None = None,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Builds a method of views from its objective.

    All nets are among the method's `weights`: the online ones and the probe by their names, the followers as `"target_<name>"`.

    One step: the followers, and then the online nets, see the views one after the other, each with batch statistics of its own; the
    online ones learn; then the followers move towards the online parameters *after* their update. The running statistics of the
    followers come from their own passes. Views may differ in size. Beside the terms it gives the `"alignment"` of the first two
    views that the online nets see: `mean |u - v|^2` of their representations `"pooled"`, divided by their lengths; and the
    `"embedding_spread"` of the first one: the standard deviation, over the batch, of what the projector makes of it, divided by its
    length, in units of `1 / sqrt(D)`. It is 0 where all images have one embedding, which their representations need not show.

    Args:
      nets: in a row by name, the first one on images; it is the network that is shipped.
      tx: the optimiser of all of them.
      objective: `outputs -> (terms, memory)`, terms as in `core.weighted_sum`, memory for the next step.
      taps: which tap each of them sees, where it is not that of `core.chain`.
      trained_as: nets over the same params that stand in for some of them while they learn, as one that sees parts of a view.
      weights: factors of the terms by name, numbers or functions of the step; a term without one counts once.
      follow: the nets that the followers copy, the first ones in order; (): there are none.
      decay: `step -> ` how much of themselves the followers keep, in [0, 1].
      starts: whether they begin as a copy of the online nets, or with weights of their own.
      online_sees: the views that the online nets see, by number; None: all.
      target_sees: those that the followers see; None: all.
      together: whether views of one size pass the first net as one batch, and all views the others: batch statistics in common.
      ships: whose first net is the network that `predict` gives.
      memory: `(key, outputs of shapes) -> ` what the first step finds; zeros stand for the numbers. None: nothing is kept.
      probe: `"pooled"` to `"logits"`: a classifier on the detached representation of the first view, trained alongside as a
        monitor by the same optimiser. Rows with a negative label do not count.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over, for an objective of single rows without memory.
    """
    names, ship = tuple(nets), next(iter(nets))
    assert tuple(follow) == names[: len(follow)] and bool(follow) == (decay is not None)
    assert (ships == "online" or follow) and (micro == 1 or memory is None)
    copied = {name: nets[name] for name in follow}
    online, slow = chain(**nets, taps=taps), chain(**copied, taps=taps)
    passes = _passes.together if together else _passes.one_by_one
    see_online, see_target = passes({**nets, **(trained_as or {})}, taps), passes(copied, taps) if follow else None

    def init(key, batch, given, **start):
        keys, view = jax.random.split(key, 4), batch["views"][0]
        params, stats = _started(online.init(keys[0], view), start)
        target = None
        if follow:
            own = slow.init(keys[1], view) if starts == "own" else [{name: x[name] for name in follow} for x in (params, stats)]
            own = _started(own, {name: start[name] for name in follow if name in start})
            target = Follower(*jax.tree.map(jnp.copy, own))  # what two nets share could not be donated
        if probe:
            pooled = jax.eval_shape(lambda: online.apply(params, stats, view, train=False)[0]["pooled"])
            params["probe"], stats["probe"] = probe.init(keys[2], jnp.zeros(pooled.shape, pooled.dtype))
        state = Views(Learner(params, stats, tx.init(params)), target, (), jnp.int32(0))
        if memory is None:
            return state
        return state._replace(memory=memory(keys[3], jax.eval_shape(lambda: see(state, params, batch, key)[0])))

    def see(state, params, batch, key):
        """What the objective sees, and the statistics that the passes leave."""
        target, stats = state.target, state.online.stats
        seen = [_chosen(batch["views"], numbers) for numbers in (target_sees, online_sees)]
        theirs, slow_stats = see_target(target.params, target.stats, seen[0], key) if see_target else ((), {})
        ours, new = see_online(params, {name: stats[name] for name in names}, seen[1], key)
        outputs = ViewOutputs(
            ours, lax.stop_gradient(theirs), params, state.memory, batch, jax.random.fold_in(key, 1), state.step, axis_name
        )
        return outputs, {**stats, **new}, slow_stats

    def loss(params, state, batch, key):
        outputs, stats, slow_stats = see(state, params, batch, key)
        terms, memory = objective(outputs)
        if probe:
            seen = lax.stop_gradient(outputs.online[0]["pooled"])
            found, stats["probe"] = probe.apply(params["probe"], stats["probe"], seen, train=True)
            terms = {**terms, "probe": masked_loss(losses.cross_entropy, found["logits"], batch)}
        value, metrics = weighted_sum(terms, weights_at(weights or {}, state.step), micro=micro)
        return value, ((stats, slow_stats, lax.stop_gradient(memory)), {**metrics, **_health(outputs)})

    def moved(state, learner):
        stats, slow_stats, memory = learner.stats
        target, metrics = state.target, {}
        if decay:
            tau = decay(state.step)
            target = Follower(ema(target.params, {name: learner.params[name] for name in follow}, tau), slow_stats)
            metrics = {"tau": tau}
        return Views(learner.replace(stats=stats), target, memory, state.step + 1), metrics

    def predict(state, inputs):
        shipped = state.online if ships == "online" else state.target
        found, _ = nets[ship].apply(shipped.params[ship], shipped.stats[ship], inputs, train=False)
        if probe:
            params, stats = state.online.params["probe"], state.online.stats["probe"]
            found = {**found, **probe.apply(params, stats, found["pooled"], train=False)[0]}
        return {ship: found}

    def weights_of(state):
        online, target = state.online, state.target
        found = {name: (online.params[name], online.stats[name]) for name in (*names, *(("probe",) if probe else ()))}
        slow = {f"target_{name}": (target.params[name], target.stats[name]) for name in follow}
        if ships == "target":  # what is shipped has the name of the network
            found |= {ship: slow.pop(f"target_{ship}"), f"online_{ship}": found[ship]}
        return found | slow

    return descent(init, loss, moved, predict, weights_of, tx=tx, axis_name=axis_name, micro=micro)


def _health(outputs: ViewOutputs) -> dict[str, jax.Array]:
    """Of what the online nets make of the first views."""
    first, axis, found = outputs.online[0], outputs.axis_name, {}
    pooled = [lax.stop_gradient(taps["pooled"]) for taps in outputs.online[:2] if "pooled" in taps]
    if len(pooled) == 2:
        found["alignment"] = jnp.mean(losses.byol(pooled[0], pooled[1]))
    embedding = first.get("projector/embedding", first.get("embedding"))
    if embedding is not None:
        u = unit(lax.stop_gradient(embedding).astype(jnp.float32))
        centred = u - pmean(jnp.mean(u, 0, keepdims=True), axis)
        deviation = jnp.sqrt(pmean(jnp.mean(centred**2, 0), axis))
        found["embedding_spread"] = jnp.mean(deviation) * u.shape[-1] ** 0.5
    return found


def _started(weights: Any, start: Mapping[str, Any]) -> tuple[dict, dict]:
    """Params and stats of nets by their names, with those that are given in their place."""
    params, stats = weights
    found = started({name: (params[name], stats[name]) for name in params}, start)
    return {name: one for name, (one, _) in found.items()}, {name: one for name, (_, one) in found.items()}


def _chosen(views: Sequence[Any], numbers: Sequence[int] | None) -> Sequence[Any]:
    return views if numbers is None else [views[n] for n in numbers]
