"""Online distillation by a target that all peers make together."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from kdjax import losses
from kdjax.core import Method, Net, check_positive, masked_loss, pick
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import Peers
from kdjax.methods.recipes import peers as side_by_side


def kdcl(
    peers: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 1.0,
    temperature: float = 2.0,
    target: Literal["naive", "linear", "min_logit", "general"] = "min_logit",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Peers learn together from one target that all of them make, the best that they say of each image.

    For peer k: `L_k = CE(z_k, y) + weight T^2 KL(softmax(z_t / T) || softmax(z_k / T))`, means over the batch, no gradient into
    z_t. Each peer sees a view of its own where a batch has `"views"`. All move at once.

    Args:
      peers: at least two nets, equal or not; the first is the one that is shipped.
      tx: the optimiser, one state a peer.
      weight: factor of the imitation term.
      temperature: T, above 0.
      target: `"naive"`: of each image the logits of the peer with the least cross-entropy; `"linear"`: that convex combination of
        all peers' logits which has the least, of each image too, for what the shares are of was not at hand; `"min_logit"`: of each
        class the least that any peer gives it above the label (`losses.min_logit`); `"general"`: the logits in the shares of
        `general_shares`, which a stage finds anew on validation images by `refresh_shares`; equal ones at first.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; the nets give the tap `"logits"`. Its networks are `"peer0"`, `"peer1"`, ...

    Reference: Guo, Wang, Wu, Yu, Liang, Hu and Luo, Online Knowledge Distillation via Collaborative Learning, CVPR 2020. Only the
    abstract and a re-implementation were at hand.
    """
    check_positive(temperature=temperature)
    make = pick("target", target, {**_TARGETS, "general": None})

    def objective(seen, k):
        def towards(own, target):
            return losses.kl_distillation(own, target, temperature=temperature)

        def imitation(own, labels):
            return towards(own, make(jnp.stack(seen.logits), labels))

        own = seen.logits[k]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, own, seen.batch),
            "imitation": masked_loss(imitation, own, seen.batch) if make else towards(own, seen.adapted["logits"]),
        }

    adapter = None if make else _in_shares(len(peers))
    return side_by_side(peers, tx, objective, weights={"imitation": weight}, adapter=adapter, axis_name=axis_name, micro=micro)


def general_shares(logits: Any, labels: Any) -> np.ndarray:
    """The shares `C^-1 1 / (1' C^-1 1)` whose mean prediction errs the least, of peers whose errors are correlated.

    `C_ij = mean over images of <softmax(z_i) - onehot(y), softmax(z_j) - onehot(y)>`. Shares may be negative. A millionth of the
    mean error on the diagonal keeps equal peers at equal shares.

    Args:
      logits: `[P, N, K]` of P peers.
      labels: class numbers `[N]`; images without one, below 0, do not count.

    Returns:
      `[P]`, float32, with sum 1.

    >>> general_shares([[[9.0, 0.0]], [[9.0, 0.0]]], [1]).tolist()
    [0.5, 0.5]
    """
    z, labels = np.asarray(logits, np.float64), np.asarray(labels)
    z, labels = z[:, labels >= 0], labels[labels >= 0]
    p = np.exp(z - z.max(-1, keepdims=True))
    errors = p / p.sum(-1, keepdims=True) - np.eye(z.shape[-1])[labels]
    covariance = np.einsum("pnk,qnk->pq", errors, errors) / max(len(labels), 1)
    ridge = 1e-6 * np.trace(covariance) / len(z) + np.finfo(np.float32).tiny
    found = np.linalg.solve(covariance + ridge * np.eye(len(z)), np.ones(len(z)))
    return (found / found.sum()).astype(np.float32)


def refresh_shares(collect: Callable[..., Any], state: Any, step: int, key: jax.Array) -> Any:
    """The `refresh` of a stage of `kdcl` with `target="general"`, for every epoch: `general_shares` on validation images."""
    outputs, columns = collect("val", "logits")
    shares = jnp.asarray(general_shares([taps["logits"] for taps in outputs.values()], columns["label"]))

    def renewed(one):  # in a sweep the State lies inside another
        if not isinstance(one, Peers):
            return one
        assert one.adapter is not None
        return one._replace(adapter=one.adapter.replace(stats={"shares": shares}))

    return jax.tree.map(renewed, state, is_leaf=lambda x: isinstance(x, Peers))


def _in_shares(count: int) -> Net:
    """The logits of all in the shares that are kept, as a Net of their taps."""

    def init(key, taps):
        return {}, {"shares": jnp.full(count, 1 / count)}

    def apply(params, stats, taps, *, train, key=None):
        return {"logits": jnp.tensordot(stats["shares"], jnp.stack([one["logits"] for one in taps]), 1)}, stats

    return Net(init, apply)


def _linear(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of peers' logits `[P, B, K]`, of each row their convex combination of the least cross-entropy, `[B, K]`.

    What is minimised is convex in the shares: 100 steps of the accelerated exponentiated gradient come within hundredths of it, at
    the rate that follows from how far the peers lie apart.
    """
    z = lax.stop_gradient(logits)
    hit = jax.nn.one_hot(labels, z.shape[-1])
    rate = 4 / jnp.maximum(jnp.max(jnp.max(z, 0) - jnp.min(z, 0), -1), 1e-6) ** 2

    def mixed(shares):
        return jnp.einsum("pb,pbk->bk", shares, z)

    def step(n, now):
        shares, weights = now
        part = 2 / (n + 2)
        ahead = (1 - part) * shares + part * jax.nn.softmax(weights, axis=0)
        slope = jnp.einsum("pbk,bk->pb", z, jax.nn.softmax(mixed(ahead)) - hit)
        weights = weights - rate[None] / part * slope
        return (1 - part) * shares + part * jax.nn.softmax(weights, axis=0), weights

    start = jnp.broadcast_to(0 * rate, z.shape[:2])
    return mixed(lax.fori_loop(0, 100, step, (start + 1 / len(z), start))[0])


def _best(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Of peers' logits `[P, B, K]`, those of the peer that is the least surprised by the label of each row, `[B, K]`."""
    surprise = jnp.stack([losses.cross_entropy(z, labels) for z in logits])
    return jnp.take_along_axis(logits, jnp.argmin(surprise, axis=0)[None, :, None], axis=0)[0]


_TARGETS: dict[str, Callable[..., jax.Array]] = {"naive": _best, "linear": _linear, "min_logit": losses.min_logit}
