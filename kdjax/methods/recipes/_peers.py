"""What all methods share whose networks learn side by side, from labels and from one another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.core import (
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
from kdjax.core.images import inputs_of
from kdjax.core.start import started


class PeerOutputs(Node):
    """What an objective of peers sees of one batch.

    Attributes:
      peers: the taps of each, in training mode.
      batch: the batch itself.
      key: for what is drawn, another one for each step.
      step: optimisation steps done, int32.
      axis_name: mapped axis that holds the rest of the batch, or None.
    """

    peers: tuple[dict[str, jax.Array], ...]
    batch: dict[str, Any]
    key: jax.Array
    step: jax.Array
    axis_name: str | None = static(default=None)

    @property
    def logits(self) -> list[jax.Array]:
        """Of all peers, which tell the same classes apart.

        Raises:
          InputError: where they do not.
        """
        found = [taps["logits"] for taps in self.peers]
        if len({z.shape for z in found}) > 1:
            raise InputError(f"the peers have {', '.join(str(z.shape[-1]) for z in found)} classes: expected as many of each")
        return found


class Peers(NamedTuple):
    """Networks that teach each other."""

    peers: tuple[Learner, ...]
    step: jax.Array


def peers(
    nets: Sequence[Net],
    tx: optax.GradientTransformation,
    objective: Callable[[PeerOutputs, int], Mapping[str, Any]],
    *,
    weights: Mapping[str, Any] | None = None,
    simultaneous: bool = True,
    axis_name: str | None = None,
    micro: int = 1,
) -> Method:
    """Builds the method of networks side by side from the objective of one of them.

    Each sees the images, or a view of its own where a batch has `"views"`: the k-th, in turn. It is the objective that stops
    gradients at what a peer takes from another, as losses of a student and its target do. The first peer is the one that is
    shipped.

    Args:
      nets: two or more, equal or not, each with a start of its own.
      tx: the optimiser, one state a peer.
      objective: `(seen, k) -> {name: term}` of peer k, terms as in `core.weighted_sum`; they are logged as `"peer<k>_<name>"`.
      weights: factors of the terms by name, numbers or functions of the step; a term without one counts once.
      simultaneous: whether all move at once; False: one after another, later ones seeing what earlier ones have just learnt, which
        takes as many passes of each as there are peers.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Raises:
      InputError: for a single net, or what is no optimiser.
    """
    if len(nets) < 2:
        raise InputError(f"peers={len(nets)} is not accepted: mutual learning takes at least 2 networks")
    check_optimiser(tx)
    numbers = range(len(nets))

    def init(key, batch, given, **start):
        keys = jax.random.split(key, len(nets))
        fresh = {f"peer{k}": net.init(own, _inputs(batch, k)) for k, (own, net) in enumerate(zip(keys, nets, strict=True))}
        learners = (Learner(params, stats, tx.init(params)) for params, stats in started(fresh, start).values())
        return Peers(tuple(learners), jnp.int32(0))

    def see(params, stats, batch, key, step):
        """What the objective sees, and the statistics behind it."""
        passed = [
            net.apply(params[k], stats[k], _inputs(batch, k), train=True, key=jax.random.fold_in(key, k))
            for k, net in enumerate(nets)
        ]
        seen = PeerOutputs(tuple(taps for taps, _ in passed), batch, jax.random.fold_in(key, len(nets)), step, axis_name)
        return seen, tuple(new for _, new in passed)

    def loss_of(k, seen):
        factors = weights_at(weights or {}, seen.step)
        return weighted_sum(objective(seen, k), factors, micro=micro, where_weight=seen.batch.get("where_weight"))

    def at_once(state, batch, key):
        def loss(params, batch):
            seen, stats = see(params, [one.stats for one in state.peers], batch, key, state.step)
            found = [loss_of(k, seen) for k in numbers]
            logged = _logged({k: {**metrics, "loss": value} for k, (value, metrics) in enumerate(found)})
            return sum(value for value, _ in found), (stats, logged)

        start = tuple(one.params for one in state.peers)
        (_, (stats, metrics)), grads = mean_grad(loss, start, batch, axis_name=axis_name, micro=micro)
        pairs = enumerate(zip(grads, state.peers, strict=True))
        moved = (apply_gradients(g, one, tx, value=metrics[f"peer{k}_loss"], grad=g) for k, (g, one) in pairs)
        return tuple(one.replace(stats=new) for one, new in zip(moved, stats, strict=True)), metrics

    def in_turn(state, batch, key):
        learners, metrics = list(state.peers), {}
        for k in numbers:

            def loss(own, batch, k=k, now=tuple(learners)):
                params = [own if j == k else one.params for j, one in enumerate(now)]
                seen, stats = see(params, [one.stats for one in now], batch, key, state.step)
                value, logged = loss_of(k, seen)
                return value, (stats[k], logged)

            learners[k], metrics[k] = learn(loss, learners[k], tx, batch, axis_name=axis_name, micro=micro)
        return tuple(learners), _logged(metrics)

    def step(state, batch, key):
        move = at_once if simultaneous else in_turn
        learners, metrics = move(state, with_label_weights(batch, axis_name), key)
        return Peers(learners, state.step + 1), metrics

    def predict(state, inputs):
        return {
            f"peer{k}": net.apply(one.params, one.stats, inputs, train=False)[0]
            for k, (net, one) in enumerate(zip(nets, state.peers, strict=True))
        }

    def weights_of(state):
        return {f"peer{k}": (one.params, one.stats) for k, one in enumerate(state.peers)}

    return Method(init, step, predict, weights_of)


def _inputs(batch, k):
    views = batch.get("views", ())
    return views[k % len(views)] if views else inputs_of(batch)


def _logged(metrics):
    return {f"peer{k}_{name}": value for k, found in metrics.items() for name, value in found.items()}
