"""Momentum contrast: a slow encoder makes the keys, and a queue keeps them."""

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_option, check_positive, check_share, cosine_to_one, push, unit
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views
from kdjax.methods.siamese._queue import random_queue


def moco(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    queue: int = 65536,
    temperature: float = 0.2,
    momentum: float = 0.999,
    last_momentum: float | None = None,
    symmetric: bool = False,
    steps: int = 1,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A view's query finds the slow network's key of the other view among keys of earlier images (MoCo v2).

    `L = mean_B of losses.moco(q_1, k_2, queue)`: one direction. The keys of a batch enter the queue behind the loss, so an image is
    no negative of itself. `symmetric`: the mean of both directions, each with a queue of its own, as some libraries have MoCo v2+;
    the one with a predictor is `moco_v2_plus`. The online encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      tx: the optimiser.
      queue: how many keys are kept, a multiple of the global batch.
      temperature: of the cosines; 0.07 in the first version.
      momentum: how much of itself the slow network keeps at each step; 0.99 for runs of a few thousand steps.
      last_momentum: what it goes to by a cosine; None: it stays.
      symmetric: whether both views ask and answer.
      steps: length of the run, for that cosine.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"`, `"target_encoder"` and `"target_projector"`.

    Differs from the authors' code on several devices: keys are not made on shuffled batches; batch statistics are those of all
    devices.

    Reference: Chen, Fan, Girshick and He, Improved Baselines with Momentum Contrastive Learning, 2020 (arXiv 2003.04297); He et
    al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020 (arXiv 1911.05722).
    """
    check_positive(temperature=temperature)
    check_share(momentum=momentum)
    check_option("last_momentum", last_momentum, lambda m: m is None or 0 <= m <= 1, "a number from 0 to 1, or None")
    check_count(steps=steps)
    pairs = ((0, 1), (1, 0)) if symmetric else ((0, 0),)  # of what the online nets see and what the followers do

    def objective(outputs):
        terms, memory = [], []
        for (q, k), past in zip(pairs, outputs.memory, strict=True):
            query, key = outputs.online[q]["embedding"], outputs.target[k]["embedding"]
            terms.append(losses.moco(query, key, past.rows, temperature=temperature))
            memory.append(push(past, unit(key), outputs.axis_name))
        return {"moco": sum(terms) / len(terms)}, tuple(memory)

    def memory(key, outputs):
        return tuple(random_queue(k, queue, outputs.online[0]["embedding"]) for k in jax.random.split(key, len(pairs)))

    def decay(step):
        return momentum if last_momentum is None else momentum + (last_momentum - momentum) * cosine_to_one(step, steps, 0.0)

    return views(
        {"encoder": encoder, "projector": projector}, tx, objective, follow=("encoder", "projector"), decay=decay,
        online_sees=None if symmetric else (0,), target_sees=None if symmetric else (1,), memory=memory, probe=probe,
        axis_name=axis_name,
    )  # fmt: skip


def moco_v2_plus(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    queue: int = 65536,
    temperature: float = 0.2,
    momentum: float = 0.99,
    predictor_follows: bool = False,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """The nets of `byol` with the contrast of `moco`: each view's prediction finds the slow network's key of the other view.

    `L = mean_B [ losses.moco(q_1, k_2, queue) + losses.moco(q_2, k_1, queue) ]`: the *sum* of both directions. One queue serves
    both; behind the loss it takes the keys of one of the two views, drawn at each step with equal odds. The momentum rises to 1
    by a cosine, as in `byol`. The online encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      tx: the optimiser.
      steps: length of the run, for the schedule of the momentum.
      queue: how many keys are kept, a multiple of the global batch.
      temperature: of the cosines.
      momentum: how much of itself the slow network keeps, at the start.
      predictor_follows: whether the slow network has a predictor too, so that both sides are alike (S-MoCo v2+).
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"`, `"predictor"`, `"target_encoder"` and `"target_projector"`.

    Reference: Huang, Kong and Zhang, Revisiting the Critical Factors of Augmentation-Invariant Representation Learning, ECCV 2022
    (arXiv 2208.00275).
    """
    check_positive(temperature=temperature)
    check_share(momentum=momentum)
    check_count(steps=steps)

    def objective(outputs):
        (q1, q2), (k1, k2) = ([taps["embedding"] for taps in side] for side in (outputs.online, outputs.target))
        past = outputs.memory
        both = [losses.moco(q, k, past.rows, temperature=temperature) for q, k in ((q1, k2), (q2, k1))]
        kept = jnp.where(jax.random.bernoulli(outputs.key), k1, k2)
        return {"moco": both[0] + both[1]}, push(past, unit(kept), outputs.axis_name)

    def memory(key, outputs):
        return random_queue(key, queue, outputs.online[0]["embedding"])

    nets = {"encoder": encoder, "projector": projector, "predictor": predictor}
    return views(
        nets, tx, objective, follow=tuple(nets)[: 2 + predictor_follows], memory=memory, probe=probe, axis_name=axis_name,
        decay=lambda step: cosine_to_one(step, steps, momentum),
    )  # fmt: skip


def moco_v3(
    encoder: Net,
    projector: Net,
    predictor: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    temperature: float = 1.0,
    momentum: float = 0.99,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A view's prediction finds the slow network's key of the other view among those of the batch, without a queue.

    `L = 2 t mean_B [ info_nce(q_1, k_2) + info_nce(q_2, k_1) ]` with the temperature `t`; the factor keeps the gradient's size.
    The momentum rises to 1 by a cosine, as in `byol`. The online encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`.
      predictor: `"embedding"` to `"embedding"`.
      tx: the optimiser.
      steps: length of the run, for the schedule of the momentum.
      temperature: of the cosines; 1 for ResNets, 0.2 for transformers.
      momentum: at the start; 0.996 for 1,000 epochs.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it stand
      `"projector"`, `"predictor"`, `"target_encoder"` and `"target_projector"`.

    Reference: Chen, Xie and He, An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021 (arXiv 2104.02057).
    """
    check_positive(temperature=temperature)
    check_share(momentum=momentum)
    check_count(steps=steps)

    def objective(outputs):
        (q1, q2), (k1, k2) = ([taps["embedding"] for taps in side] for side in (outputs.online, outputs.target))
        both = [losses.info_nce(q, k, temperature=temperature, axis_name=outputs.axis_name) for q, k in ((q1, k2), (q2, k1))]
        return {"info_nce": 2 * temperature * (both[0] + both[1])}, ()

    nets = {"encoder": encoder, "projector": projector, "predictor": predictor}
    return views(
        nets, tx, objective, follow=("encoder", "projector"), decay=lambda step: cosine_to_one(step, steps, momentum), probe=probe,
        axis_name=axis_name,
    )  # fmt: skip
