"""The paraphraser of factor transfer: an autoencoder of a teacher's map."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Frozen, InputError, Learner, Method, Net, check_positive, descent, from_linen, weighted_sum
from kdjax.core.arrays import AxisName
from kdjax.core.start import started
from kdjax.methods.recipes import tap
from kdjax.models import batch_norm, conv2d, fan_in_bias, fan_in_uniform, fan_out_uniform, last_stage


class Paraphrasing(NamedTuple):
    """An autoencoder that learns from a frozen teacher's maps."""

    paraphraser: Learner
    given: dict[str, Frozen]
    step: jax.Array


class Stack(nn.Module):
    """3x3 convolutions, each with a leaky ReLU of slope 0.1; kernels and biases start uniform in +-1/sqrt(fan in).

    Attributes:
      widths: channels they give.
      norm: whether batch norm stands between convolution and activation.
      transposed: whether they stand for transposed ones and start as PyTorch's do, which count the channels that come out.
      axis_name: mapped axis of the batch statistics, or None.
    """

    widths: tuple[int, ...]
    norm: bool = False
    transposed: bool = False
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` to `[B, H, W, widths[-1]]`."""
        for k, width in enumerate(self.widths, 1):
            init, counted = (fan_out_uniform, width) if self.transposed else (fan_in_uniform, x.shape[-1])
            x = conv2d(width, 3, bias=True, init=init, bias_init=fan_in_bias(9 * counted), name=f"conv{k}")(x)
            if self.norm:
                x = batch_norm(train, axis_name=self.axis_name, name=f"bn{k}")(x)
            x = nn.leaky_relu(x, 0.1)
        return x


class Paraphraser(nn.Module):
    """Three convolutions to the channels of the factor, and three back.

    The way back is of transposed convolutions in the paper, which at stride 1 are convolutions.

    Attributes:
      rate: channels of the factor per channel of the map, rounded down.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """`[B, H, W, C]` to the taps `"factor"` `[B, H, W, rate C]` and `"map"` `[B, H, W, C]`."""
        channels, few = x.shape[-1], int(self.rate * x.shape[-1])
        factor = Stack((channels, few, few), name="encoder")(x, train)
        return {"factor": factor, "map": Stack((few, channels, channels), transposed=True, name="decoder")(factor, train)}


def factor_of(params: Mapping[str, Any], x: jax.Array) -> jax.Array:
    """The factor `[B, H, W, few]` that the encoder of a trained paraphraser makes of a map `[B, H, W, C]`.

    Raises:
      InputError: where it was trained on a map of other channels.
    """
    channels, few = params["encoder"]["conv2"]["kernel"].shape[2:]
    if x.shape[-1] != channels:
        raise InputError(f"the paraphraser was trained on a map of {channels} channels: expected that, not one of {x.shape[-1]}")
    encoder = Stack((channels, few, few), parent=None)  # on its own, also inside another module
    return encoder.apply({"params": params["encoder"]}, x, train=False)  # type: ignore[return-value]


def paraphraser(
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    layer: str,
    rate: float = 0.5,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Learns to say a teacher's map again in fewer channels, without labels: the first stage of factor transfer, `ft`.

    `L = mean (P(f_t) - f_t)^2` over all elements.

    Args:
      teacher: the frozen net, run in evaluation mode; where a batch holds its taps (`"teacher"`) these are taken instead.
      tx: the optimiser.
      layer: the teacher's map; empty: the end of the last stage.
      rate: channels of the factor per channel of the map, above 0.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`; the teacher gives the map. Its networks are `"paraphraser"`, of images, with the tap
      `"map"`, and `"teacher"`.

    Reference: Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer, NeurIPS 2018 (arXiv
    1802.04977).
    """
    check_positive(rate=rate)
    net = from_linen(Paraphraser(rate))

    def look(frozen, batch):
        taps = batch.get("teacher")
        if taps is None:
            taps, _ = teacher.apply(frozen.params, frozen.stats, batch["image"], train=False)
        return tap("teacher", taps, layer or last_stage(taps))

    def init(key, batch, given, **start):
        given = {"teacher": given["teacher"]}
        shape = jax.eval_shape(look, given["teacher"], batch)
        fresh = net.init(key, jnp.zeros(shape.shape, shape.dtype))
        params, stats = started({"paraphraser": fresh}, start)["paraphraser"]
        return Paraphrasing(Learner(params, stats, tx.init(params)), given, jnp.int32(0))

    def loss(params, state, batch, key):
        wanted = look(state.given["teacher"], batch)
        taps, stats = net.apply(params, state.paraphraser.stats, wanted, train=True)
        value, metrics = weighted_sum({"reconstruction": losses.hint(taps["map"], wanted)}, {}, micro=micro)
        return value, (stats, metrics)

    def follow(state, learner):
        return Paraphrasing(learner, state.given, state.step + 1), {}

    def predict(state, inputs):
        frozen, learner = state.given["teacher"], state.paraphraser
        taps, _ = teacher.apply(frozen.params, frozen.stats, inputs, train=False)
        wanted = tap("teacher", taps, layer or last_stage(taps))
        said, _ = net.apply(learner.params, learner.stats, wanted, train=False)
        return {"paraphraser": said, "teacher": taps}

    def weights(state):
        frozen, learner = state.given["teacher"], state.paraphraser
        return {"paraphraser": (learner.params, learner.stats), "teacher": (frozen.params, frozen.stats)}

    rows = lambda state, batch, key: batch  # noqa: E731
    return descent(init, loss, follow, predict, weights, ("teacher",), tx=tx, rows=rows, axis_name=axis_name, micro=micro)
