"""Twin class distributions."""

import itertools

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_option, cosine_to_one, gather
from kdjax.core.arrays import AxisName
from kdjax.methods.recipes import views


def twist(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    lam1: float = 0.0,
    lam2: float = 1.0,
    temperature: float = 1.0,
    epsilon: float = 1e-5,
    momentum: float | None = None,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Views of an image fall into the same class, each surely, and the batch into all classes.

    `L = mean over pairs of losses.twist(z_a, z_v)`, `a` one of the first two views and `v` a later one; more views of any size may
    follow the two large ones. With a `momentum` there is a slow network, which sees the large views and says where the others
    belong: `L = losses.twist_teacher(z, z')`, the form for transformers. Views of one size pass the encoder as one batch, and all
    views the projector. The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`, the logits of as many classes; the paper's has three layers that end in batch norm
        without scale and offset.
      tx: the optimiser; the paper's is LARS, for transformers AdamW.
      steps: length of the run, for the schedule of the momentum.
      lam1: added to the weight 1 of being sure; -0.6 for transformers.
      lam2: weight of using all classes, for which a batch needs about as many rows as there are classes; without it and that batch
        norm all images end in one class.
      temperature: of what is sure and uses all classes; with a slow network, of all distributions.
      epsilon: inside logarithms.
      momentum: how much of itself the slow network keeps, at the start; it rises to 1 by a cosine; 0.996 for transformers. None:
        there is none.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it
      stands `"projector"`. With a momentum there are `"target_encoder"` and `"target_projector"` too.

    Differs from the authors' code in the last batch norm, whose statistics there are those of 256 rows.

    Reference: Wang, Kong, Zhang, Liu and Li, Self-Supervised Learning by Estimating Twin Class Distributions, 2021 (arXiv
    2110.07402).
    """
    check_option("momentum", momentum, lambda m: m is None or 0 <= m <= 1, "a number from 0 to 1, or None")
    check_count(steps=steps)
    options = {"lam1": lam1, "lam2": lam2, "temperature": temperature, "epsilon": epsilon}

    def objective(outputs):
        logits, axis = [taps["embedding"] for taps in outputs.online], outputs.axis_name
        if momentum is not None:
            slow = jnp.stack([taps["embedding"] for taps in outputs.target])
            return {"twist": losses.twist_teacher(jnp.stack(logits), slow, **options, axis_name=axis)}, ()
        pairs = [(a, v) for a, v in itertools.combinations(range(len(logits)), 2) if a < 2]
        each = [losses.twist(logits[a], logits[v], **options, axis_name=axis) for a, v in pairs]
        return {"twist": sum(each) / len(each)}, ()

    nets = {"encoder": encoder, "projector": projector}
    slow = {} if momentum is None else {"follow": tuple(nets), "decay": lambda step: cosine_to_one(step, steps, momentum)}
    return views(nets, tx, objective, **slow, target_sees=(0, 1), together=True, probe=probe, axis_name=axis_name)


def twist_labels(
    encoder: Net,
    projector: Net,
    tx: optax.GradientTransformation,
    *,
    steps: int,
    share: float = 0.5,
    last_share: float = 0.6,
    probe: Net | None = None,
    axis_name: AxisName = None,
) -> Method:
    """The last epochs of TWIST: the surer of the two large views says where all other views of an image belong.

    `L = mean over the other views of losses.self_label(z_w, z_v)`, over the share of the batch that is surest; `share` goes to
    `last_share` by a cosine. It starts from the networks of `twist` (a stage's `warm_start`). The encoder is what is shipped.

    Args:
      encoder: image to `"pooled"`.
      projector: `"pooled"` to `"embedding"`, as in `twist`.
      tx: the optimiser; the paper's rate is a tenth of that of `twist`.
      steps: length of the run, for the schedule of the share.
      share: of the batch, at the start.
      last_share: at the end.
      probe: a linear classifier trained alongside as a monitor, or None.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"views"`, two or more of each image; a probe asks for `"label"`. Its network is `"encoder"`; beside it
      stands `"projector"`.

    Differs from the authors' code on several devices: the surest images are those of all devices.

    Reference: Wang, Kong, Zhang, Liu and Li, Self-Supervised Learning by Estimating Twin Class Distributions, 2021 (arXiv
    2110.07402).
    """
    for name, value in {"share": share, "last_share": last_share}.items():
        check_option(name, value, lambda x: 0 < x <= 1, "a number above 0, at most 1")
    check_count(steps=steps)

    def objective(outputs):
        one, two, *small = (taps["embedding"] for taps in outputs.online)
        first = (_sure(one) > _sure(two))[:, None]
        weak, strong = jnp.where(first, one, two), jnp.where(first, two, one)
        gone = cosine_to_one(outputs.step, steps, 0.0)
        threshold = _threshold(gather(_sure(weak), outputs.axis_name), (1 - gone) * share + gone * last_share)
        each = [losses.self_label(weak, z, threshold=threshold, axis_name=outputs.axis_name) for z in (strong, *small)]
        return {"self_label": sum(each) / len(each)}, ()

    return views({"encoder": encoder, "projector": projector}, tx, objective, together=True, probe=probe, axis_name=axis_name)


def _sure(logits: jax.Array) -> jax.Array:
    """The largest probability of each row."""
    return jnp.max(jax.nn.softmax(lax.stop_gradient(logits)), -1)


def _threshold(sure: jax.Array, share: jax.Array) -> jax.Array:
    """What the share of the rows with the largest numbers exceeds, rounded down."""
    rows = len(sure)
    place = jnp.minimum((share * rows + 1e-3).astype(jnp.int32), rows - 1)  # a share of 6 rows of 10 may be one of 5.9999995
    return jnp.sort(sure, descending=True)[place]
