"""What all methods share whose networks learn side by side, from labels and from one another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.core import (
    Frozen,
    InputError,
    Learner,
    Method,
    Net,
    Node,
    apply_gradients,
    check_optimiser,
    learn,
    mean_grad,
    static,
    weighted_sum,
    weights_at,
    with_label_weights,
)
from kdjax.core.arrays import AxisName
from kdjax.core.images import inputs_of
from kdjax.core.start import started
from kdjax.models import trunk_names


class PeerOutputs(Node):
    """What an objective of peers sees of one batch.

    Attributes:
      peers: the taps of each, in training mode.
      batch: the batch itself.
      key: for what is drawn, another one for each step.
      step: optimisation steps done, int32.
      axis_name: mapped axis that holds the rest of the batch, or None.
      adapted: what the adapter makes of them all.
      teacher: the taps of a frozen teacher, in evaluation mode; empty where there is none.
    """

    peers: tuple[dict[str, jax.Array], ...]
    batch: dict[str, Any]
    key: jax.Array
    step: jax.Array
    axis_name: AxisName = static(default=None)
    adapted: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, jax.Array] = field(default_factory=dict)

    @property
    def logits(self) -> list[jax.Array]:
        """Of all peers, which tell the same classes apart.

        Raises:
          InputError: where they do not.
        """
        return _logits(self.peers)


class Peers(NamedTuple):
    """Networks that teach each other.

    Attributes:
      peers: each of them; of branches what each has for itself, and the statistics of the whole.
      step: optimisation steps done.
      adapter: the layers behind all of them, or None.
      trunk: what branches share, or None.
      given: the weights of a teacher, or nothing.
    """

    peers: tuple[Learner, ...]
    step: jax.Array
    adapter: Learner | None = None
    trunk: Learner | None = None
    given: Mapping[str, Frozen] = {}


def peers(
    nets: Sequence[Net],
    tx: optax.GradientTransformation,
    objective: Callable[[PeerOutputs, int], Mapping[str, Any]],
    *,
    weights: Mapping[str, Any] | None = None,
    teacher: Net | None = None,
    simultaneous: bool = True,
    adapter: Net | None = None,
    together: Callable[[PeerOutputs], Mapping[str, Any]] | None = None,
    shared: bool = False,
    trunk_tx: optax.GradientTransformation | None = None,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Builds the method of networks side by side from the objective of one of them.

    Each sees the images, or a view of its own where a batch has `"views"`: the k-th, in turn. It is the objective that stops
    gradients at what a peer takes from another, as losses of a student and its target do; what it does not stop teaches the other
    peer too. The first peer is the one that is shipped. Peers are whole nets, or with `shared` branches of one: what lies in front
    of their last stage is there once. In training XLA passes it forwards once, and backwards once a branch. Each branch with the
    trunk is a plain net all the same, and so `predict` and `weights` show it.

    Args:
      nets: two or more, equal or not, each with a start of its own.
      tx: the optimiser, one state a peer.
      objective: `(seen, k) -> {name: term}` of peer k, terms as in `core.weighted_sum`; they are logged as `"peer<k>_<name>"`.
      weights: factors of the terms by name, numbers or functions of the step; a term without one counts once.
      teacher: the frozen net behind `given["teacher"]`, run in evaluation mode on the images of the batch, not on a view; where a
        batch holds its taps (`"teacher"`) these are taken instead. None: there is none.
      simultaneous: whether all move at once; False: one after another, later ones seeing what earlier ones have just learnt, which
        takes as many passes of each as there are peers. Then there is neither adapter nor trunk.
      adapter: a Net of the taps of all peers, a list, of which the teacher's are the last; trained with them and not shipped. Where
        it has the tap `"logits"`, these are the tap `"together"` of the first peer in `predict`.
      together: `seen -> {name: term}`, what is asked of the adapter; logged as `"together_<name>"`.
      shared: whether the peers are branches, equal up to their last stage.
      trunk_tx: the optimiser of what they share; None: `tx`.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Raises:
      InputError: for a single net, or what is no optimiser; at `init`, for branches of one stage, or of unequal trunks.
    """
    if len(nets) < 2:
        raise InputError(f"peers={len(nets)} is not accepted: mutual learning takes at least 2 networks")
    check_optimiser(tx)
    names = [f"peer{k}" for k in range(len(nets))]
    optimisers, needs = {"trunk": trunk_tx or tx}, ("teacher",) if teacher else ()

    def inputs(batch, k):
        views = () if shared else batch.get("views", ())
        return views[k % len(views)] if views else inputs_of(batch)

    def parts_of(state):
        beside = {"adapter": state.adapter, "trunk": state.trunk}
        return dict(zip(names, state.peers, strict=True)) | {name: one for name, one in beside.items() if one is not None}

    def state_of(parts, step, given):
        return Peers(tuple(parts[name] for name in names), step, parts.get("adapter"), parts.get("trunk"), given)

    def taught(given, batch):
        """The taps of the teacher, in a list, or none."""
        if not teacher:
            return []
        frozen = given["teacher"]
        return [batch.get("teacher") or teacher.apply(frozen.params, frozen.stats, inputs_of(batch), train=False)[0]]

    def init(key, batch, given, **start):
        keys, seen = jax.random.split(key, len(nets)), [inputs(batch, k) for k in range(len(nets))]
        below = trunk_names(nets[0], seen[0]) if shared else ()
        fresh = {name: net.init(own, x) for name, own, net, x in zip(names, keys, nets, seen, strict=True)}
        if adapter:
            shapes = jax.eval_shape(
                lambda: [net.apply(*fresh[name], x, train=False)[0] for name, net, x in zip(names, nets, seen, strict=True)]
            )
            _logits(shapes)
            shapes += jax.eval_shape(lambda: taught(given, batch))
            blank = jax.tree.map(lambda tap: jnp.zeros(tap.shape, tap.dtype), shapes)
            fresh["adapter"] = adapter.init(jax.random.fold_in(key, 1), blank)
        found = started(fresh, start)
        if shared:
            trunk = _trunk(below, [found[name][0] for name in names])
            own = {name: ({n: p for n, p in found[name][0].items() if n not in trunk}, found[name][1]) for name in names}
            found |= {**own, "trunk": (trunk, {})}
        learners = {n: Learner(params, stats, optimisers.get(n, tx).init(params)) for n, (params, stats) in found.items()}
        return state_of(learners, jnp.int32(0), {name: given[name] for name in needs})

    def whole(params, name):
        return {**params["trunk"], **params[name]} if shared else params[name]

    def see(params, stats, batch, key, state):
        """What the objective sees, and the statistics behind it."""
        # Branches have one key, so that what is drawn in their trunk is drawn once.
        keys = [jax.random.fold_in(key, 0 if shared else k) for k in range(len(nets))]
        passed = [
            net.apply(whole(params, name), stats[name], inputs(batch, k), train=True, key=keys[k])
            for k, (name, net) in enumerate(zip(names, nets, strict=True))
        ]
        taps, new = [taps for taps, _ in passed], {name: new for name, (_, new) in zip(names, passed, strict=True)}
        own, adapted, told = jax.random.fold_in(key, len(nets)), {}, taught(state.given, batch)
        if adapter:
            adapted, new["adapter"] = adapter.apply(params["adapter"], stats["adapter"], [*taps, *told], train=True, key=own)
        seen = PeerOutputs(tuple(taps), batch, own, state.step, axis_name, adapted, *told)
        return seen, stats | new

    def summed(terms, seen):
        factors = weights_at(weights or {}, seen.step)
        return weighted_sum(terms, factors, micro=micro, where_weight=seen.batch.get("where_weight"))

    def at_once(state, batch, key):
        parts = parts_of(state)

        def loss(params, batch):
            seen, stats = see(params, {name: one.stats for name, one in parts.items()}, batch, key, state)
            found = {name: summed(objective(seen, k), seen) for k, name in enumerate(names)}
            if together:
                found["together"] = summed(together(seen), seen)
            logged = _logged({name: {**metrics, "loss": value} for name, (value, metrics) in found.items()})
            return sum(value for value, _ in found.values()), (stats, logged)

        start = {name: one.params for name, one in parts.items()}
        (value, (stats, metrics)), grads = mean_grad(loss, start, batch, axis_name=axis_name, micro=micro)

        def moved(name, one):
            told = metrics.get(f"{name}_loss", value)
            return apply_gradients(grads[name], one, optimisers.get(name, tx), value=told, grad=grads[name])

        return {name: moved(name, one).replace(stats=stats[name]) for name, one in parts.items()}, metrics

    def in_turn(state, batch, key):
        learners, metrics = parts_of(state), {}
        for k, name in enumerate(names):
            params, stats = ({n: getattr(one, kind) for n, one in learners.items()} for kind in ("params", "stats"))

            def loss(own, batch, k=k, name=name, params=params, stats=stats):
                seen, stats = see({**params, name: own}, stats, batch, key, state)
                value, logged = summed(objective(seen, k), seen)
                return value, (stats[name], logged)

            learners[name], metrics[name] = learn(loss, learners[name], tx, batch, axis_name=axis_name, micro=micro)
        return learners, _logged(metrics)

    def step(state, batch, key):
        move = at_once if simultaneous else in_turn
        learners, metrics = move(state, with_label_weights(batch, axis_name), key)
        return state_of(learners, state.step + 1, state.given), metrics

    def predict(state, inputs):
        found = weights_of(state)
        shown = dict(zip(names, nets, strict=True)) | ({"teacher": teacher} if teacher else {})
        outputs = {name: net.apply(*found[name], inputs, train=False)[0] for name, net in shown.items()}
        if adapter:
            said, _ = adapter.apply(state.adapter.params, state.adapter.stats, list(outputs.values()), train=False)
            outputs["peer0"] |= {"together": said["logits"]} if "logits" in said else {}
        return outputs

    def weights_of(state):
        params = {name: one.params for name, one in parts_of(state).items()}
        found = {name: (whole(params, name), one.stats) for name, one in zip(names, state.peers, strict=True)}
        found |= {name: (frozen.params, frozen.stats) for name, frozen in state.given.items()}
        return found | ({"adapter": (one.params, one.stats)} if (one := state.adapter) and jax.tree.leaves(one.params) else {})

    return Method(init, step, predict, weights_of, needs)


def _logits(peers: Sequence[Mapping[str, Any]]) -> list[Any]:
    found = [taps["logits"] for taps in peers]
    if len({z.shape for z in found}) > 1:
        raise InputError(f"the peers have {', '.join(str(z.shape[-1]) for z in found)} classes: expected as many of each")
    return found


def _trunk(below: Sequence[str], params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What branches share, of the first of them."""
    found = [{name: one.get(name) for name in below} for one in params]
    if any(jax.tree.map(jnp.shape, one) != jax.tree.map(jnp.shape, found[0]) for one in found):
        raise InputError("branches share what lies in front of the last stage, which differs: expected peers equal up to there")
    return found[0]


def _logged(metrics):
    return {f"{name}_{term}": value for name, found in metrics.items() for term, value in found.items()}
