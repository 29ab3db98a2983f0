"""What follows an encoder: the pooled linear classifier, and the projectors, predictors and prototypes of siamese methods."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.arrays import AxisName
from kdjax.core.check import check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net
from kdjax.core.unit import unit
from kdjax.models.conv import fan_in_uniform
from kdjax.models.gelu import gelu
from kdjax.models.iterative_norm import IterativeNorm
from kdjax.models.norm import batch_norm


def check_classes(classes: int | None) -> None:
    """Refuses a negative number of classes.

    >>> check_classes(None)
    """
    check_option("classes", classes, lambda n: n is None or n >= 0, "a number of classes, or 0 or None for an encoder")


def pooled_and_logits(
    x: jax.Array, classes: int | None, *, init: Any = fan_in_uniform, bias_init: Any = nn.initializers.zeros
) -> dict[str, jax.Array]:
    """The taps `"pooled"` `[B, C]` and `"logits"` `[B, classes]`, both float32, of a map `[B, H, W, C]`.

    To be called inside a compact Linen module, to which it adds the layer `"classifier"` (none where `classes` is 0 or
    None). The kernel starts as `init` draws it, by default uniform in +-1/sqrt(C), the bias as `bias_init` does, by default at 0.

    >>> pooled_and_logits(jnp.ones((2, 3, 3, 4)), None)["pooled"].shape
    (2, 4)
    """
    pooled = jnp.mean(x, (1, 2), dtype=jnp.float32)
    if not classes:
        return {"pooled": pooled}
    return {"pooled": pooled, "logits": nn.Dense(classes, kernel_init=init, bias_init=bias_init, name="classifier")(pooled)}


class MLPHead(nn.Module):
    """Linear layers, between them batch norm and an activation.

    Attributes:
      hidden: width of the hidden layers.
      out: width of the output.
      layers: how many linear layers there are.
      norm: whether there is batch norm between them.
      last_norm: what follows the last one: "none", "affine" (batch norm), "plain" (batch norm without scale and offset) or
        "iterative" (`IterativeNorm`).
      hidden_bias: whether the hidden layers have biases.
      out_bias: whether the last layer has one.
      activation: "relu", "gelu" or "identity".
      dtype: of the computation.
      axis_name: mapped axis of the batch statistics, or None.
    """

    hidden: int
    out: int
    layers: int = 2
    norm: bool = True
    last_norm: str = "none"
    hidden_bias: bool = True
    out_bias: bool = False
    activation: str = "relu"
    dtype: Any = jnp.float32
    axis_name: AxisName = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Vectors `[B, D]` to the tap `"embedding"` `[B, out]`, float32."""
        for k in range(1, self.layers):
            x = nn.Dense(self.hidden, use_bias=self.hidden_bias, dtype=self.dtype, name=f"linear{k}")(x)
            if self.norm:
                x = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name, name=f"bn{k}")(x)
            x = _ACTIVATIONS[self.activation](x)
        x = nn.Dense(self.out, use_bias=self.out_bias, dtype=self.dtype, name=f"linear{self.layers}")(x)
        if self.last_norm == "iterative":
            x = IterativeNorm(axis_name=self.axis_name, name=f"norm{self.layers}")(x, train)
        elif self.last_norm != "none":
            affine = self.last_norm == "affine"
            x = batch_norm(train, affine=affine, dtype=self.dtype, axis_name=self.axis_name, name=f"bn{self.layers}")(x)
        return {"embedding": x.astype(jnp.float32)}


_ACTIVATIONS = {"relu": nn.relu, "gelu": gelu, "identity": lambda x: x}
_LAST_NORMS = ("none", "affine", "plain", "iterative")


def mlp_head(
    hidden: int,
    out: int,
    *,
    layers: int = 2,
    norm: bool = True,
    last_norm: str = "none",
    hidden_bias: bool = True,
    out_bias: bool = False,
    activation: str = "relu",
    dtype: Any = jnp.float32,
    axis_name: AxisName = None,
) -> Net:
    """A projector or predictor; by default BYOL's: linear with bias, batch norm, ReLU, linear without bias.

    Args:
      hidden: width of the hidden layers (4096 in BYOL's paper).
      out: width of the output (256 in BYOL's paper).
      layers: how many linear layers there are.
      norm: whether batch norm follows each hidden one.
      last_norm: what follows the last one: `"none"`, `"affine"` (batch norm), `"plain"` (batch norm without scale and offset) or
        `"iterative"` (`models.iterative_norm.IterativeNorm`, which takes off correlations too).
      hidden_bias: whether the hidden layers have biases.
      out_bias: whether the last layer has one.
      activation: `"relu"`, `"gelu"` or `"identity"`.
      dtype: of the computation; the output is float32.
      axis_name: mapped axis over which batch statistics are averaged, or None.

    Returns:
      A Net of vectors `[B, D]` with the tap `"embedding"` `[B, out]`.

    Raises:
      InputError: for another norm or activation, or no layer.

    Reference: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, arXiv 2006.07733.

    >>> net = mlp_head(8, 4)
    >>> params, stats = net.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> net.apply(params, stats, jnp.ones((2, 3)), train=False)[0]["embedding"].shape
    (2, 4)
    """
    check_option("layers", layers, lambda n: n >= 1, "a whole number of at least 1")
    check_option("last_norm", last_norm, lambda n: n in _LAST_NORMS, ", ".join(map(repr, _LAST_NORMS)))
    check_option("activation", activation, lambda a: a in _ACTIVATIONS, ", ".join(map(repr, _ACTIVATIONS)))
    return from_linen(
        MLPHead(hidden, out, layers, norm, last_norm, hidden_bias, out_bias, activation, dtype=dtype, axis_name=axis_name)
    )


class PrototypeHead(nn.Module):
    """Cosines with prototypes: the tap `"scores"`.

    Attributes:
      count: how many prototypes there are.
      normalise: whether their length is divided out.
    """

    count: int
    normalise: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Vectors `[B, D]` to the tap `"scores"` `[B, count]`, float32."""
        kernel = self.param("kernel", _unit_columns, (x.shape[-1], self.count))
        return {"scores": unit(x) @ (unit(kernel, 0) if self.normalise else kernel)}


def prototype_head(count: int, *, normalise: bool = True) -> Net:
    """The cosines of vectors with prototypes, which are trained.

        scores[b, k] = x[b] . c[k] / (|x[b]| |c[k]|)

    Args:
      count: how many prototypes there are.
      normalise: whether the length of a prototype is divided out in the net, through which the gradient then flows (weight norm).
        If not, they start with length 1 and whoever trains them keeps it, as `core.keep_unit_columns` does.

    Returns:
      A Net of vectors `[B, D]` with the tap `"scores"` `[B, count]`; its parameter is the `"kernel"` `[D, count]`.

    Raises:
      InputError: for no prototype.

    Reference: Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, NeurIPS 2020
    (arXiv 2006.09882); Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021 (arXiv 2104.14294).

    >>> net = prototype_head(4)
    >>> params, stats = net.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> net.apply(params, stats, jnp.ones((2, 3)), train=False)[0]["scores"].shape
    (2, 4)
    """
    check_option("prototypes", count, lambda n: n >= 1, "a whole number of at least 1")
    return from_linen(PrototypeHead(count, normalise))


def _unit_columns(key, shape):
    return unit(jax.random.normal(key, shape), 0)


class LinearHead(nn.Module):
    """One linear layer on vectors: the tap `"logits"`.

    Attributes:
      classes: number of logits.
    """

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Vectors `[B, D]` to `{"logits": [B, classes]}`."""
        return {"logits": nn.Dense(self.classes, kernel_init=fan_in_uniform, name="classifier")(x)}


def linear_head(classes: int) -> Net:
    """A linear classifier on vectors `[B, D]`, such as the online probe of a self-supervised encoder.

    Args:
      classes: number of logits.

    Returns:
      A Net with the tap `"logits"` `[B, classes]`.

    >>> net = linear_head(3)
    >>> params, stats = net.init(jax.random.key(0), jnp.ones((2, 8)))
    >>> net.apply(params, stats, jnp.ones((2, 8)), train=False)[0]["logits"].shape
    (2, 3)
    """
    return from_linen(LinearHead(classes))
