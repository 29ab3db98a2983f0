"""What bootstrapping methods share: an online network with a predictor, and a slow copy of it as the target."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Follower, Learner, Method, Net, average, chain, ema, labelled, learn, weigh_labels, weighted_sum


class Siamese(NamedTuple):
    """An online network and its moving average."""

    online: Learner
    target: Follower
    step: jax.Array


def siamese(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    objective: Callable[[tuple, tuple], Mapping[str, Any]],
    *,
    decay: Callable[[jax.Array], jax.Array],
    probe: Net | None = None,
    axis_name: str | None = None,
) -> Method:
    """Builds a bootstrapping method from its objective.

    One step: both networks see every view, each with batch statistics of its own and one view after the other; the online
    one descends; then the target moves towards the online parameters *after* their update. The running statistics of the
    target come from its own passes.

    Args:
      encoder: image to the tap `"pooled"`, the representation.
      projector: `"pooled"` to the tap `"embedding"`.
      predictor: `"embedding"` to `"embedding"`; online only.
      tx: the online optimiser.
      objective: `(predictions, targets) -> {name: term}`, one array `[B, D]` a view on each side.
      decay: `step -> ` the target's decay in [0, 1].
      probe: `"pooled"` to `"logits"`: a classifier on the detached representation of the first view, trained alongside as a
        monitor by the same optimiser. Rows with a negative label do not count.
      axis_name: mapped axis that holds the batch, or None.
    """
    project = chain(encoder, projector)

    def init(key, batch, given):
        keys, view = jax.random.split(key, 4), batch["views"][0]
        params, stats = {}, {}
        params["project"], stats["project"] = project.init(keys[0], view)
        taps = jax.eval_shape(lambda p, s: project.apply(p, s, view, train=False)[0], params["project"], stats["project"])
        heads = {"predict": (predictor, "embedding")} | ({"probe": (probe, "pooled")} if probe else {})
        for k, (name, (head, tap)) in zip(keys[1:], heads.items(), strict=False):
            params[name], stats[name] = head.init(k, jnp.zeros(taps[tap].shape, taps[tap].dtype))
        # The target starts from weights of its own, as in the authors' code.
        return Siamese(Learner(params, stats, tx.init(params)), Follower(*project.init(keys[3], view)), jnp.int32(0))

    def step(state, batch, key):
        targets, target_stats = [], state.target.stats
        for view in batch["views"]:
            taps, target_stats = project.apply(state.target.params, target_stats, view, train=True, key=key)
            targets.append(taps["embedding"])

        def loss(params, batch, targets):
            stats, predictions, pooled = dict(state.online.stats), [], []
            for view in batch["views"]:
                taps, stats["project"] = project.apply(params["project"], stats["project"], view, train=True, key=key)
                embedding = taps["embedding"]
                out, stats["predict"] = predictor.apply(params["predict"], stats["predict"], embedding, train=True, key=key)
                predictions.append(out["embedding"])
                pooled.append(taps["pooled"])
            terms = dict(objective(tuple(predictions), targets))
            if probe:
                out, stats["probe"] = probe.apply(params["probe"], stats["probe"], jax.lax.stop_gradient(pooled[0]), train=True)
                terms["probe"] = labelled(losses.cross_entropy, out["logits"], batch)
            value, metrics = weighted_sum(terms, {})
            return value, (stats, metrics)

        online, metrics = learn(loss, state.online, tx, weigh_labels(batch, axis_name), tuple(targets), axis_name=axis_name)
        tau = decay(state.step)
        params = ema(state.target.params, online.params["project"], tau)
        target = Follower(params, average(target_stats, axis_name))
        return Siamese(online, target, state.step + 1), {**metrics, "tau": tau}

    def predict(state, inputs):
        params, stats = state.online.params, state.online.stats
        taps, _ = project.apply(params["project"], stats["project"], inputs, train=False)
        if probe:
            taps |= probe.apply(params["probe"], stats["probe"], taps["pooled"], train=False)[0]
        return {"encoder": taps}

    def weights(state):
        return {"encoder": (state.online.params["project"]["first"], state.online.stats["project"]["first"])}

    return Method(init, step, predict, weights)
