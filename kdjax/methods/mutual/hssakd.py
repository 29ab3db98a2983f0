"""Peers that teach each other class and rotation behind every stage."""

from collections.abc import Sequence

import optax

from kdjax import losses
from kdjax.core import InputError, Learner, Method, Net, check_positive, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.start import started
from kdjax.methods.recipes import four_rotations, joint_exits, joint_labels_term
from kdjax.methods.recipes import peers as side_by_side
from kdjax.models import attach


def hssakd(
    peers: Sequence[Net],
    branches: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    joint_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: float = 3.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Peers with classifiers of class and rotation behind every stage, each of which imitates that of the other peer.

    For peer k, on images in all four rotations: `L_k = CE(z_k, y) + joint_weight sum_l CE(q_kl, 4 y + j) + weight (KD(z_k, z_j) +
    sum_l KD(q_kl, q_jl))` with `KD(a, b) = T^2 KL(softmax(b / T) || softmax(a / T))`, no gradient into b; the first term is of the
    upright images, the others are means over all. Of more than two peers the imitation is the mean over the others. All move at
    once; what is shipped is a peer without its branches.

    Args:
      peers: at least two nets with as many stages.
      branches: made by `models.branches`, for each of them.
      tx: the optimiser, one state a peer.
      joint_weight: factor of the branches' cross-entropy.
      weight: factor of the imitation.
      temperature: T, above 0.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`, of equal sides, and `"label"`; the nets give `"logits"` and the ends of their stages. Its
      networks are `"peer0"`, `"peer1"`, ...; beside them stand `"peer0_branches"`, ...

    Reference: Yang, An, Cai and Xu, Knowledge Distillation Using Hierarchical Self-Supervision Augmented Distribution, IEEE TNNLS
    2022 (arXiv 2109.03075).
    """
    check_positive(temperature=temperature)
    if len(branches) != len(peers):
        raise InputError(f"there are {len(peers)} peers and branches of {len(branches)}: expected those of each")
    nets = [_seeing_rotations(attach(net, heads)) for net, heads in zip(peers, branches, strict=True)]

    def objective(seen, k):
        exits = [[*joint_exits(taps), taps["logits"]] for taps in seen.peers]
        others = [one for j, one in enumerate(exits) if j != k]
        own, taps = exits[k], seen.peers[k]
        return {
            "cross_entropy": masked_loss(losses.cross_entropy, taps["logits"][::4], seen.batch),
            "joint_cross_entropy": joint_labels_term(taps, seen.batch),
            "imitation": sum(losses.hierarchical_distillation(own, one, temperature=temperature) for one in others) / len(others),
        }

    factors = {"joint_cross_entropy": joint_weight, "imitation": weight}
    method = side_by_side(nets, tx, objective, weights=factors, axis_name=axis_name, micro=micro)

    def init(key, batch, given, **start):
        state = method.init(key, batch, given)
        found, learners = started(weights_of(state), start), []
        for k in range(len(peers)):
            (net, own), (heads, theirs) = found[f"peer{k}"], found[f"peer{k}_branches"]
            params = {"net": net, "heads": heads}
            learners.append(Learner(params, {"net": own, "heads": theirs}, tx.init(params)))
        return state._replace(peers=tuple(learners))

    def weights_of(state):
        parts = {
            part: {f"peer{k}{end}": (one.params[part], one.stats[part]) for k, one in enumerate(state.peers)}
            for part, end in (("net", ""), ("heads", "_branches"))
        }
        return parts["net"] | parts["heads"]

    def predict(state, inputs):
        found = weights_of(state)
        return {f"peer{k}": net.apply(*found[f"peer{k}"], inputs, train=False)[0] for k, net in enumerate(peers)}

    return method._replace(init=init, predict=predict, weights=weights_of)


def _seeing_rotations(net: Net) -> Net:
    """The same net, which sees all four rotations of each image while it is trained."""

    def apply(params, stats, x, *, train, key=None):
        return net.apply(params, stats, four_rotations(x) if train else x, train=train, key=key)

    return Net(net.init, apply)
