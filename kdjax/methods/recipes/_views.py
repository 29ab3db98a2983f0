"""What methods share that learn from several views of an image: online nets, followers of some of them, and a memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from kdjax import losses
from kdjax.core import Follower, Learner, Method, Net, chain, ema, learn, masked_loss, weighted_sum, weights_at, with_label_weights


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


class ViewOutputs(struct.PyTreeNode):
    """What an objective sees of one batch.

    Attributes:
      online: the taps of all online nets, a dict a view, in training mode.
      target: those of the followers, for the views they see; no gradient flows into them.
      memory: what the last step left.
      batch: the batch itself.
      key: for what is drawn, another one for each step.
      step: optimisation steps done, int32.
      axis_name: mapped axis that holds the rest of the batch, or None.
    """

    online: tuple[dict[str, jax.Array], ...]
    target: tuple[dict[str, jax.Array], ...]
    memory: Any
    batch: dict[str, Any]
    key: jax.Array
    step: jax.Array
    axis_name: str | None = struct.field(pytree_node=False, default=None)


def views(
    nets: Mapping[str, Net],
    tx: optax.GradientTransformation,
    objective: Callable[[ViewOutputs], tuple[Mapping[str, Any], Any]],
    *,
    taps: Mapping[str, str] | None = None,
    weights: Mapping[str, Any] | None = None,
    follow: Sequence[str] = (),
    decay: Callable[[jax.Array], Any] | None = None,
    seen_by_target: int | None = None,
    memory: Callable[[jax.Array, ViewOutputs], Any] | None = None,
    probe: Net | None = None,
    axis_name: str | None = None,
) -> Method:
    """Builds a method of views from its objective.

    All nets are among the method's `weights`: the online ones and the probe by their names, the followers as `"target_<name>"`.

    One step: the followers, and then the online nets, see the views one after the other, each with batch statistics of its own; the
    online ones learn; then the followers move towards the online parameters *after* their update. The running statistics of the
    followers come from their own passes.

    Args:
      nets: in a row by name, the first one on images; it is the network that is shipped.
      tx: the optimiser of all of them.
      objective: `outputs -> (terms, memory)`, terms as in `core.weighted_sum`, memory for the next step.
      taps: which tap each of them sees, where it is not that of `core.chain`.
      weights: factors of the terms by name, numbers or functions of the step; a term without one counts once.
      follow: the nets that the followers copy, the first ones in order; (): there are none.
      decay: `step -> ` how much of themselves the followers keep, in [0, 1].
      seen_by_target: how many views they see, the first ones; None: all.
      memory: `(key, outputs of shapes) -> ` what the first step finds; zeros stand for the numbers.
      probe: `"pooled"` to `"logits"`: a classifier on the detached representation of the first view, trained alongside as a
        monitor by the same optimiser. Rows with a negative label do not count.
      axis_name: mapped axis that holds the batch, or None.
    """
    names, ship = tuple(nets), next(iter(nets))
    assert tuple(follow) == names[: len(follow)] and bool(follow) == (decay is not None)
    online = chain(**nets, taps=taps)
    slow = chain(**{name: nets[name] for name in follow}, taps=taps)

    def init(key, batch, given):
        keys, view = jax.random.split(key, 4), batch["views"][0]
        params, stats = online.init(keys[0], view)
        # Followers start from weights of their own, as in the code of BYOL's authors.
        target = Follower(*slow.init(keys[1], view)) if follow else None
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
        theirs, slow_stats = (
            _passes(slow, target.params, target.stats, batch["views"][:seen_by_target], key) if follow else ((), {})
        )
        ours, new = _passes(online, params, {name: stats[name] for name in names}, batch["views"], key)
        outputs = ViewOutputs(
            ours, lax.stop_gradient(theirs), state.memory, batch, jax.random.fold_in(key, 1), state.step, axis_name
        )
        return outputs, {**stats, **new}, slow_stats

    def step(state, batch, key):
        def loss(params, batch):
            outputs, stats, slow_stats = see(state, params, batch, key)
            terms, memory = objective(outputs)
            if probe:
                seen = lax.stop_gradient(outputs.online[0]["pooled"])
                found, stats["probe"] = probe.apply(params["probe"], stats["probe"], seen, train=True)
                terms = {**terms, "probe": masked_loss(losses.cross_entropy, found["logits"], batch)}
            value, metrics = weighted_sum(terms, weights_at(weights or {}, state.step))
            return value, ((stats, slow_stats, lax.stop_gradient(memory)), metrics)

        learner, metrics = learn(loss, state.online, tx, with_label_weights(batch, axis_name), axis_name=axis_name)
        stats, slow_stats, memory = learner.stats
        target = state.target
        if decay:
            tau = decay(state.step)
            target = Follower(ema(target.params, {name: learner.params[name] for name in follow}, tau), slow_stats)
            metrics = {**metrics, "tau": tau}
        return Views(learner.replace(stats=stats), target, memory, state.step + 1), metrics

    def predict(state, inputs):
        params, stats = state.online.params, state.online.stats
        found, _ = nets[ship].apply(params[ship], stats[ship], inputs, train=False)
        if probe:
            found = {**found, **probe.apply(params["probe"], stats["probe"], found["pooled"], train=False)[0]}
        return {ship: found}

    def weights_of(state):
        online, target = state.online, state.target
        found = {name: (online.params[name], online.stats[name]) for name in (*names, *(("probe",) if probe else ()))}
        return found | {f"target_{name}": (target.params[name], target.stats[name]) for name in follow}

    return Method(init, step, predict, weights_of)


def _passes(net: Net, params: Any, stats: Any, views: Sequence[Any], key: jax.Array) -> tuple[tuple[dict, ...], Any]:
    """The taps of a net on one view after the other, and its statistics behind the last."""
    found = []
    for view in views:
        taps, stats = net.apply(params, stats, view, train=True, key=key)
        found.append(taps)
    return tuple(found), stats
