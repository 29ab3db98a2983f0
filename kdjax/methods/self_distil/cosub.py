"""Co-training of the submodels of one network."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, check_share, masked_loss
from kdjax.core.arrays import AxisName
from kdjax.core.images import inputs_of
from kdjax.methods.recipes import Objective, student
from kdjax.methods.self_distil.rows import each_twice, parted


def cosub_objective(*, weight: float = 0.5, binarised: bool = False) -> Objective:
    """Each image passes through two submodels of a network with stochastic depth, which learn from the labels and each other.

    `L = (1 - weight) mean b(z, y) + weight (b(z_1, sigmoid(z_2)) + b(z_2, sigmoid(z_1))) / 2`, the first mean over both
    submodels, with `b(z, t) = -mean_k (t log sigmoid(z) + (1 - t) log(1 - sigmoid(z)))`, and no gradient into the targets t. Both
    copies of a batch pass as one, with branches of their own and batch norm over all 2 B rows. The terms are means over the
    classes too: a few classes want a higher learning rate than the cross-entropy does.

    Args:
      weight: share of the other submodel, in [0, 1]; 0 leaves the labels alone.
      binarised: whether every class of a mixed label counts wholly, as in the authors' recipe.

    Reference: Touvron, Cord, Oquab, Bojanowski, Verbeek and Jégou, Co-training 2^L Submodels for Visual Recognition, CVPR 2023
    (arXiv 2212.04884).
    """
    check_share(weight=weight)
    labels = binary_objective(binarised=binarised)

    def terms(seen, adapted):
        first, second = parted(seen.student["logits"])
        # A scalar: in slices of an accumulated batch the two submodels would be apart.
        other = jnp.mean(losses.cosub(first, second, jnp.zeros_like(first), weight=1.0))
        return {**labels.terms(seen, adapted), "other_submodel": other}

    return Objective(terms, {"labels": 1 - weight, "other_submodel": weight}, needs=(), sees=each_twice)


def binary_objective(*, weight: float = 1.0, binarised: bool = False) -> Objective:
    """The labels by binary cross-entropies, `mean_k -(y log sigmoid(z) + (1 - y) log(1 - sigmoid(z)))`: cosub without submodels.

    Args:
      weight: factor of the term.
      binarised: as in `cosub_objective`.
    """

    def of_labels(z, y):
        y = jax.nn.one_hot(y, z.shape[-1]) if jnp.issubdtype(y.dtype, jnp.integer) else y
        return losses.cosub(z, z, jnp.where(y > 0, 1.0, 0.0) if binarised else y, weight=0.0)

    def terms(seen, adapted):
        return {"labels": masked_loss(of_labels, seen.student["logits"], seen.batch)}

    return Objective(terms, {"labels": weight}, needs=())


def cosub(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    weight: float = 0.5,
    binarised: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Each image passes through two submodels of a network with stochastic depth, which learn from the labels and each other.

    The loss is that of `cosub_objective`.

    Args:
      network: the net to train, which leaves out branches at random in training (`drop_path` above 0, at a constant rate).
      tx: its optimiser.
      weight: share of the other submodel, in [0, 1]; 0 leaves the labels alone.
      binarised: whether every class of a mixed label counts wholly, as in the authors' recipe.
      axis_name: mapped axis that holds the batch, or None.
      micro: 1, as the two submodels of an image meet in one batch.

    Returns:
      A Method of batches of `"image"` and `"label"`; the net gives the tap `"logits"`. Its network is `"network"`.

    Raises:
      InputError: at `init`, for a network that draws nothing in training, so that both submodels are the same.

    Reference: Touvron, Cord, Oquab, Bojanowski, Verbeek and Jégou, Co-training 2^L Submodels for Visual Recognition, CVPR 2023
    (arXiv 2212.04884).
    """
    objective = cosub_objective(weight=weight, binarised=binarised)
    method = student(network, tx, objective, name="network", axis_name=axis_name, micro=micro)

    def init(key, batch, given, **start):
        check_submodels(network, inputs_of(batch))
        return method.init(key, batch, given, **start)

    return method._replace(init=init)


def check_submodels(net: Net, x: Any) -> None:
    """Refuses a net whose outputs for inputs like `x` do not depend on a key in training: it has no submodels."""
    key = jax.random.key(0)
    params, stats = jax.eval_shape(net.init, key, x)
    traced = jax.make_jaxpr(lambda key, p, s, x: net.apply(p, s, x, train=True, key=key))(key, params, stats, x).jaxpr
    if not any(traced.invars[0] is used for equation in traced.eqns for used in equation.invars):
        raise InputError("cosub is not accepted with a network that draws nothing in training: expected drop_path above 0")
