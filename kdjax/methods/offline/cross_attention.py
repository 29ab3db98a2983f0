"""A convolutional net's map beside the patches of a transformer: partial cross attention, and linear layers by place."""

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.core import check_option, example_keys, from_linen
from kdjax.core.arrays import Weight
from kdjax.methods.offline._tokens import block_name, grid_of, heads, resized
from kdjax.methods.recipes import Objective, Outputs, tap
from kdjax.models import conv2d, fan_in_uniform, last_stage

_PATTERN = 4  # places a side with linear layers of their own; the next ones share them
_each_fan_in_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", batch_axis=(0, 1))


class _ByPlace(nn.Module):
    """A linear layer for each place of a 4x4 pattern that is laid over the map again and again: `[B, H, W, C]` to tokens."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        kernel = self.param("kernel", _each_fan_in_uniform, (_PATTERN, _PATTERN, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (_PATTERN, _PATTERN, self.features))
        down, right = -(-height // _PATTERN), -(-width // _PATTERN)
        x = jnp.pad(x, ((0, 0), (0, down * _PATTERN - height), (0, right * _PATTERN - width), (0, 0)))
        x = x.reshape(batch, down, _PATTERN, right, _PATTERN, channels)
        x = jnp.einsum("bdirjc,ijcf->bdirjf", x, kernel) + bias[None, None, :, None]
        x = x.reshape(batch, down * _PATTERN, right * _PATTERN, self.features)[:, :height, :width]
        return x.reshape(batch, height * width, self.features)


class _Projectors(nn.Module):
    """The student's map as queries, keys and values, and as features, of the teacher's patches."""

    layer: str
    block: int
    dropout: float

    @nn.compact
    def __call__(self, seen: Outputs, train: bool):
        feature, (query, _, _) = patches_of(seen, self.block)
        _, count, patches, width = query.shape
        x = tap("student", seen.student, self.layer or last_stage(seen.student))
        x = resized(x, grid_of(patches, seen.batch["image"].shape[1:3]))
        found = {}
        for name in ("query", "key", "value"):
            y = conv2d(count * width, 3, bias=True, init=fan_in_uniform, name=name)(x)
            found[name] = y.reshape(-1, patches, count, width).swapaxes(1, 2)
        y = _ByPlace(feature.shape[-1], name="feature")(x)
        if train and self.dropout:
            y = y * _coins(seen, 3, 1 - self.dropout, y) / (1 - self.dropout)
        return found | {"feature": y}


def cakd_objective(
    *,
    attention: Weight = 1.0,
    value: Weight = 1.0,
    feature: Weight = 1.0,
    replaced: float = 0.5,
    value_term: Literal["relation", "square"] = "relation",
    dropout: float = 0.1,
    layer: str = "",
    block: int = 0,
) -> Objective:
    """The student's map attends as the teacher's patches do, and says the same of each place: `cakd` without its critic.

    `L_x = attention |Attn(g(Q_s), g(K_s), g(V_s)) - Attn(Q_t, K_t, V_t)|^2 + value |V_s V_s' - V_t V_t'|^2 / d +
    feature |l(f_s) - h_t|^2`, means of squares. `Q_s, K_s, V_s` are 3x3 convolutions of the map, in the teacher's heads of width d;
    `g` puts, entry by entry, the teacher's in their place by chance, anew each step; `l` are 16 linear layers, chosen by row and
    column modulo 4. The class token is left out; the map is resized to the patches.

    Args:
      attention: factor of the first term.
      value: of the second.
      feature: of the third.
      replaced: chance of `g`.
      value_term: `"square"` compares `V * V / sqrt(d)`, element by element, as one re-implementation does.
      dropout: of the entries of `l(f_s)`.
      layer: the student's map; empty: the end of its last stage.
      block: the teacher's, from 1; 0 for the last, whose features are those behind the last norm.

    Reference: as `cakd`.
    """
    check_option("replaced", replaced, lambda p: 0 <= p <= 1, "a probability in [0, 1]")
    check_option("dropout", dropout, lambda p: 0 <= p < 1, "a number from 0 to below 1")
    check_option("value_term", value_term, lambda t: t in ("relation", "square"), "'relation' or 'square'")

    def terms(seen, adapted):
        theirs, wanted = patches_of(seen, block)
        ours = [adapted[name] for name in ("query", "key", "value")]
        mixed = [jnp.where(_coins(seen, k, replaced, s), t, s) for k, (s, t) in enumerate(zip(ours, wanted, strict=True))]
        return {
            "attention": losses.hint(_attend(*mixed), _attend(*wanted)),
            "value": losses.hint(_of_values(ours[2], value_term), _of_values(wanted[2], value_term)),
            "feature": losses.hint(adapted["feature"], theirs),
        }

    weights = {"attention": attention, "value": value, "feature": feature}
    return Objective(terms, weights, from_linen(_Projectors(layer, block, dropout)))


def patches_of(seen: Outputs, block: int) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The features `[B, P, C]` of the patches, and their queries, keys and values `[B, heads, P, d]`."""
    taps = seen.teacher
    patches = tap("teacher", taps, "patches").shape[1]
    feature = taps[block_name("teacher", taps, block)][:, -patches:] if block else taps["patches"]
    return feature, tuple(x[:, :, -patches:] for x in heads("teacher", taps, block))


def _coins(seen: Outputs, number: int, p: float, like: jax.Array) -> jax.Array:
    """True with probability p, each entry of each image for itself."""
    keys = example_keys(jax.random.fold_in(seen.key, number), seen.batch["index"])
    return jax.vmap(lambda key: jax.random.bernoulli(key, p, like.shape[1:]))(keys)


def _attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    scores = jnp.einsum("bhnd,bhmd->bhnm", query, key) / math.sqrt(query.shape[-1])
    return jnp.einsum("bhnm,bhmd->bhnd", jax.nn.softmax(scores.astype(jnp.float32)), value)


def _of_values(value: jax.Array, term: str) -> jax.Array:
    both = value * value if term == "square" else jnp.einsum("bhnd,bhmd->bhnm", value, value)
    return both / math.sqrt(value.shape[-1])
