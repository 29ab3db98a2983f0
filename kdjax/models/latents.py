"""What a generator is given: latents, beside a label where it knows classes."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax.core.check import InputError, check_option
from kdjax.core.linen_net import from_linen
from kdjax.core.net import Net

LABELS = ("product", "concat", "sum")


class Latents(nn.Module):
    """The vectors a generator starts from: latents, joined with what stands for their label where there are classes.

    Attributes:
      classes: how many there are; None: what is given may hold a label, which is not looked at.
      label: how the two are joined: "product" (of embedding and latent), "concat" (the one behind the other) or "sum".
      embedding: length of the embedding behind the latent of "concat"; None: the label itself, as a distribution over classes.
        That of the others is as long as a latent.
    """

    classes: int | None = None
    label: str = "product"
    embedding: int | None = None

    @nn.compact
    def __call__(self, x: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Latents, or `{"latent", "label"}`, to the vectors `[B, D]`, and the tap `"class_embedding"` where there is one."""
        z = latents_of(x)
        if not self.classes:
            return z, {}
        label = jnp.asarray(x["label"])
        shares = jax.nn.one_hot(label, self.classes) if jnp.issubdtype(label.dtype, jnp.integer) else label
        length = self.embedding if self.label == "concat" else z.shape[-1]
        if not length:
            return jnp.concatenate([z, shares.astype(z.dtype)], -1), {}
        # A sum of two standard normal vectors would lie outside the shell of the latents: there embeddings start with length 1.
        scale = length**-0.5 if self.label == "sum" else 1.0
        table = self.param("class_embedding", nn.initializers.normal(scale), (self.classes, length))
        e = jnp.dot(shares, table, precision="highest")
        joined = {"product": lambda: z * e, "sum": lambda: z + e, "concat": lambda: jnp.concatenate([z, e], -1)}
        return joined[self.label](), {"class_embedding": e}


def latents_of(x: Any) -> jax.Array:
    """The latents `[B, nz]` in what a generator is given: these alone, or a mapping with them as `"latent"`.

    Raises:
      InputError: for a mapping without them.

    >>> latents_of({"latent": jnp.ones((2, 3)), "label": jnp.zeros(2, int)}).shape
    (2, 3)
    """
    if isinstance(x, Mapping) and "latent" not in x:
        raise InputError(f"a generator is given {', '.join(map(repr, x))}: expected latents, or a mapping with 'latent'")
    return x["latent"] if isinstance(x, Mapping) else x


def check_label(classes: int | None, label: str, embedding: int | None) -> None:
    """Refuses the options of `Latents` that are not accepted.

    >>> check_label(10, "concat", 50)
    """
    check_option("classes", classes, lambda n: n is None or n >= 1, "a whole number of at least 1, or None")
    check_option("label", label, lambda kind: kind in LABELS, ", ".join(map(repr, LABELS)))
    accepted = "the length of what label='concat' puts behind a latent, or None"
    check_option("embedding", embedding, lambda n: n is None or (n >= 1 and label == "concat"), accepted)


def net_of_latents(module: nn.Module, latent: int | None, classes: int | None) -> Net:
    """The Net of a Linen generator that checks what it is given.

    Args:
      module: of latents `[B, nz]`, or of `{"latent": [B, nz], "label": int [B] or float [B, classes]}`.
      latent: nz; None: any.
      classes: None: a label is not looked at. Else it is needed; `init` does without.

    Raises:
      InputError: at latents of another length, without a label, and at a label of other classes.
    """
    net = from_linen(module)

    def init(key, x):
        z = latents_of(x)
        check_option("latent", latent, lambda n: n in (None, z.shape[-1]), f"{z.shape[-1]}, the length of what it is given")
        if classes and not isinstance(x, Mapping):
            x = {"latent": z, "label": jnp.zeros(z.shape[0], jnp.int32)}
        return net.init(key, x)

    def apply(params, stats, x, *, train, key=None):
        if classes:
            shape = jnp.shape(x["label"]) if isinstance(x, Mapping) and "label" in x else None
            rows = latents_of(x).shape[0]
            if shape not in ((rows,), (rows, classes)):
                found = "no label" if shape is None else f"a label of shape {list(shape)}"
                raise InputError(f"a generator of classes={classes} is given {found}: expected [{rows}] or [{rows}, {classes}]")
        return net.apply(params, stats, x, train=train, key=key)

    return Net(init, apply)


def spherical(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    """Latents on the way from some to others along the sphere, on which standard normal ones of a great length lie.

    With `w` the angle between the two, `(sin((1 - t) w) a + sin(t w) b) / sin(w)`; the straight line where they lie on one line.

    Args:
      a: `[..., D]`, at `share` 0.
      b: `[..., D]`, at `share` 1.
      share: t, `[..., 1]`, of the same rank; the three broadcast.

    Returns:
      `[..., D]`.

    Reference: White, "Sampling Generative Networks", 2016, arXiv 1609.04468.

    >>> [f"{x:.4f}" for x in spherical(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), jnp.array([0.5]))]
    ['0.7071', '0.7071']
    """
    lengths = jnp.linalg.norm(a, axis=-1, keepdims=True) * jnp.linalg.norm(b, axis=-1, keepdims=True)
    cosine = jnp.sum(a * b, -1, keepdims=True) / jnp.where(lengths > 0, lengths, 1.0)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    aligned = jnp.abs(cosine) > 1 - 1e-6
    sine = jnp.where(aligned, 1.0, jnp.sin(angle))
    first = jnp.where(aligned, 1 - share, jnp.sin((1 - share) * angle) / sine)
    second = jnp.where(aligned, share, jnp.sin(share * angle) / sine)
    return first * a + second * b
