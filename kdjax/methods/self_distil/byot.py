"""Be your own teacher."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from kdjax import losses
from kdjax.core import Net, check_option, check_positive, masked_loss, psum
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of, tap
from kdjax.methods.self_distil._exits import from_exits
from kdjax.models import fan_in_bias, fan_in_uniform, last_stage


def byot_objective(
    *,
    exits: Net,
    exit_weight: Weight = 0.9,
    weight: Weight = 0.1,
    feature_weight: Weight = 0.03,
    temperature: float = 3.0,
    features: Literal["squared", "mean", "norm"] = "squared",
) -> Objective:
    """Classifiers behind the earlier stages learn from the labels and from the deepest one, its predictions and features.

    `L_x = sum_i exit_weight CE(z_i, y) + weight T^2 KL(softmax(z / T) || softmax(z_i / T)) + feature_weight d(F_i, F)` over the
    exits i, no gradient into z and F. The exits are not shipped. With `weight` and `feature_weight` of 0 it is deep supervision.

    Args:
      exits: made by `models.exits` for this net.
      exit_weight: factor of the exits' cross-entropy, in the paper 1 - alpha; 1 in Self-KD-Lib.
      weight: alpha, factor of the imitation, which holds T^2; 1 in Self-KD-Lib, and 0.3 / T^2 in the authors' code.
      feature_weight: lambda. The paper gives no number; how the distance is summed changes it by orders.
      temperature: T, above 0; 4 in Self-KD-Lib.
      features: d: `"squared"`, the paper's `|F_i - F|^2` of pooled features; `"mean"`, the mean over elements of the squared
        difference of the last maps, with 0.05 in Self-KD-Lib; `"norm"`, the length of the whole batch's `W_i F_i - F`, not squared,
        with trained layers W_i and not for the deepest exit, with 0.03 in the authors' code of the journal.

    Reference: Zhang et al., Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self Distillation,
    ICCV 2019 (arXiv 1905.08094).
    """
    check_positive(temperature=temperature)
    check_option("features", features, lambda v: v in _DISTANCES, "'squared', 'mean' or 'norm'")

    def terms(seen, adapted):
        early, deepest = from_exits(seen.student), seen.student["logits"]
        return {
            "exits": sum(masked_loss(losses.cross_entropy, z, seen.batch) for z in early),
            "imitation": sum(losses.kl_distillation(z, deepest, temperature=temperature) for z in early),
            "features": _DISTANCES[features](seen, adapted),
        }

    weights = {"exits": exit_weight, "imitation": weight, "features": feature_weight}
    return Objective(terms, weights, Net(_init_layers, _layers) if features == "norm" else None, needs=(), heads=exits)


def _squared(seen, adapted):
    wanted = lax.stop_gradient(tap("student", seen.student, "pooled"))
    return sum(jnp.sum((f - wanted) ** 2, axis=-1) for f in from_exits(seen.student, "_pooled"))


def _mean(seen, adapted):
    return sum(losses.hint(f, seen.student[last_stage(seen.student)]) for f in from_exits(seen.student, "_map"))


def _norm(seen, adapted):
    wanted = lax.stop_gradient(tap("student", seen.student, "pooled"))
    squares = [psum(jnp.sum((f - wanted) ** 2), seen.axis_name) for f in adapted.values()]
    return sum((jnp.sqrt(jnp.maximum(x, 1e-12)) for x in squares), start=jnp.zeros(()))


_DISTANCES = {"squared": _squared, "mean": _mean, "norm": _norm}


def _init_layers(key, seen):
    """Of a linear layer behind the pooled features of each exit but the last."""
    width, layers = tap("student", seen.student, "pooled").shape[1], {}
    for k, pooled in enumerate(from_exits(seen.student, "_pooled")[:-1], 1):
        own, shape = jax.random.fold_in(key, k), (pooled.shape[1], width)
        layers[f"exit{k}"] = {"kernel": fan_in_uniform(own, shape), "bias": fan_in_bias(shape[0])(own, shape[1:])}
    return layers, {}


def _layers(params, stats, seen, *, train, key=None):
    return {exit: seen.student[f"{exit}_pooled"] @ p["kernel"] + p["bias"][None] for exit, p in params.items()}, stats


byot = method_of(byot_objective, taught=False)
