"""Be your own teacher."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from kdjax import losses
from kdjax.core import Net, check_option, check_positive, masked_loss, psum
from kdjax.methods.recipes import Objective, method_of, tap
from kdjax.methods.self_distil._exits import behind, from_exits
from kdjax.models import fan_in_bias, fan_in_uniform, last_stage


def byot_objective(
    *,
    exits: Net,
    exit_weight: float = 0.9,
    weight: float = 0.1,
    feature_weight: float = 0.03,
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
    adapter = behind(exits)

    def terms(seen, adapted):
        early, deepest = from_exits(adapted), seen.student["logits"]
        return {
            "exits": sum(masked_loss(losses.cross_entropy, z, seen.batch) for z in early),
            "imitation": sum(losses.kl_distillation(z, deepest, temperature=temperature) for z in early),
            "features": _DISTANCES[features](seen, adapted),
        }

    weights = {"exits": exit_weight, "imitation": weight, "features": feature_weight}
    return Objective(terms, weights, _adapting(adapter) if features == "norm" else adapter, needs=())


def _squared(seen, adapted):
    wanted = lax.stop_gradient(tap("student", seen.student, "pooled"))
    return sum(jnp.sum((f - wanted) ** 2, axis=-1) for f in from_exits(adapted, "_pooled"))


def _mean(seen, adapted):
    return sum(losses.hint(f, seen.student[last_stage(seen.student)]) for f in from_exits(adapted, "_map"))


def _norm(seen, adapted):
    wanted = lax.stop_gradient(tap("student", seen.student, "pooled"))
    squares = [psum(jnp.sum((f - wanted) ** 2), seen.axis_name) for f in from_exits(adapted, "_adapted")[:-1]]
    return sum((jnp.sqrt(jnp.maximum(x, 1e-12)) for x in squares), start=jnp.zeros(()))


_DISTANCES = {"squared": _squared, "mean": _mean, "norm": _norm}


def _adapting(exits: Net) -> Net:
    """The exits, with a linear layer behind the pooled features of each but the last."""

    def init(key, seen):
        own, *keys = jax.random.split(key, 20)
        params, stats = exits.init(own, seen)
        shapes = jax.eval_shape(lambda: exits.apply(params, stats, seen, train=False)[0])
        width, layers = tap("student", seen.student, "pooled").shape[1], {}
        for k, pooled in enumerate(from_exits(shapes, "_pooled")[:-1]):
            shape = (pooled.shape[1], width)
            layers[f"layer{k + 1}"] = {"kernel": fan_in_uniform(keys[k], shape), "bias": fan_in_bias(shape[0])(keys[k], shape[1:])}
        return {"exits": params, "layers": layers}, stats

    def apply(params, stats, seen, *, train, key=None):
        taps, stats = exits.apply(params["exits"], stats, seen, train=train, key=key)
        for k, pooled in enumerate(from_exits(taps, "_pooled"), 1):
            layer = params["layers"].get(f"layer{k}")
            taps[f"exit{k}_adapted"] = pooled if layer is None else pooled @ layer["kernel"] + layer["bias"][None]
        return taps, stats

    return Net(init, apply)


byot = method_of(byot_objective, taught=False)
