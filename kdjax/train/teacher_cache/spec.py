"""What is kept of a frozen teacher's outputs when they are computed once, and how they come back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.core import InputError, Net, check_option

DTYPES = ("float32", "bfloat16", "float16")


class TeacherCache(NamedTuple):
    """How a stage's teacher, `given["teacher"]`, is asked once instead of at every step.

    Augmentation draws from (seed, epoch, row), so a stage with K views takes `epoch % K` for the epoch: every image comes back in
    K views, which are drawn again from their keys, and the teacher's outputs for them are read. Keys are kept, pixels are not.

    The stage's `augment` must treat every row by itself; the teacher sees the images of a batch, or its
    tokens where it has none.

    Attributes:
      net: the teacher's, run in evaluation mode.
      views: K.
      taps: what is kept.
      top: how many of the largest logits are kept with their classes, and of the rest their log-sum-exp; 0 keeps them all.
      classes: of the logits.
      dtype: how floats are kept, one of `DTYPES`; they come back as float32.
      folder: where; empty: among the finished stages that runs share, or in the run's folder.
      drawn: whether the augmentation draws anything.
      about: JSON values by name, to name what differs where outputs in `folder` are refused: what they follow from beside the data,
        the weights and the seed (image size, crop, augmentation, the rows of a validation split, the net around the weights).
    """

    net: Net
    views: int = 1
    taps: tuple[str, ...] = ("logits",)
    top: int = 0
    classes: int = 0
    dtype: str = "float32"
    folder: str = ""
    drawn: bool = True
    about: Mapping[str, Any] = {}


def check_teacher_cache(cache: TeacherCache) -> None:
    """Refuses options that cannot be.

    Raises:
      InputError: one line that names the option.

    >>> from kdjax.models import conv_net
    >>> check_teacher_cache(TeacherCache(conv_net((4,)), views=4, taps=("logits", "pooled")))
    """
    check_option("views", cache.views, lambda n: int(n) == n >= 1, "a whole number, 1 or more")
    if cache.views > 1 and not cache.drawn:
        raise InputError(f"views={cache.views} is not accepted without augmentation: all views are the same, expected 1")
    check_option("taps", cache.taps, lambda t: len(set(t)) == len(t) > 0, "one name or more, each once")
    check_option("dtype", cache.dtype, lambda d: d in DTYPES, ", ".join(DTYPES))
    if cache.top:
        check_option(
            "top", cache.top, lambda k: int(k) == k and 0 < k < cache.classes, f"0 to {cache.classes - 1}, below the classes"
        )
        if "logits" not in cache.taps:
            raise InputError(f"top={cache.top} is not accepted with taps={cache.taps}: expected 'logits' among them")


def encode(cache: TeacherCache, taps: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """What is kept of a teacher's taps.

    Args:
      cache: what to keep.
      taps: of a batch, `{tap: [B, ...]}`.

    Returns:
      `{tap: [B, ...]}`, floats in the dtype of storage. With `top` k in the place of `"logits"`: `"logits/values"` [B, k],
      `"logits/classes"` [B, k] in integers, and `"logits/rest"` [B] = log of the sum of the exponentials of the others, float32.

    Raises:
      InputError: for a tap that the teacher has not.
    """
    if missing := [name for name in cache.taps if name not in taps]:
        there = ", ".join(name for name in taps if not name.startswith("norm/"))
        raise InputError(f"taps={cache.taps} is not accepted: the teacher has no {missing[0]!r}, it has {there}")
    found = {name: _stored(taps[name], cache.dtype) for name in cache.taps}
    if not cache.top:
        return found
    logits = taps["logits"].astype(jnp.float32)
    if logits.shape[-1] != cache.classes:
        raise InputError(f"the teacher's logits are of {logits.shape[-1]} classes: expected {cache.classes}")
    values, classes = jax.lax.top_k(logits, cache.top)
    others = jnp.put_along_axis(logits, classes, -jnp.inf, axis=-1, inplace=False)
    del found["logits"]
    return found | {
        "logits/values": _stored(values, cache.dtype),
        "logits/classes": classes.astype(jnp.uint16 if cache.classes <= 2**16 else jnp.int32),
        "logits/rest": jax.nn.logsumexp(others, -1),
    }


def decode(cache: TeacherCache, found: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The taps a method sees, from what was kept of them.

    Logits of which only the `top` k were kept are whole again: each of the C - k other classes has `rest - log(C - k)`, so that
    they share their probability equally. At temperature 1 the probabilities of the k classes, and of all others together, are
    those of the teacher. At a higher temperature T the others get more than their due (of all ways to share a probability, equal
    shares have the largest sum of p^(1/T)) and the k classes less; below 1 it is the other way round.

    Args:
      cache: what was kept.
      found: as `encode` gives it.

    Returns:
      `{tap: [B, ...]}`, floats as float32.

    >>> from kdjax.models import conv_net
    >>> cache = TeacherCache(conv_net((4,)), top=1, classes=3)
    >>> whole = decode(cache, encode(cache, {"logits": jnp.log(jnp.array([[0.1, 0.6, 0.3]]))}))
    >>> [f"{p:.3f}" for p in jnp.exp(whole["logits"])[0]]
    ['0.200', '0.600', '0.200']
    """
    taps = {name: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x for name, x in found.items()}
    if cache.top:
        values, classes, rest = (taps.pop(f"logits/{part}") for part in ("values", "classes", "rest"))
        share = rest - jnp.log(jnp.float32(cache.classes - cache.top))
        logits = jnp.broadcast_to(share[..., None], (*share.shape, cache.classes))
        taps["logits"] = jnp.put_along_axis(logits, classes.astype(jnp.int32), values, axis=-1, inplace=False)
    return taps


def blank_taps(cache: TeacherCache, inputs: jax.ShapeDtypeStruct) -> dict[str, jax.ShapeDtypeStruct]:
    """The taps a method sees, as shapes, for images `[B, H, W, C]` or tokens."""

    def outputs(x):
        taps, _ = cache.net.apply(*cache.net.init(jax.random.key(0), x), x, train=False)
        return decode(cache, encode(cache, taps))

    return jax.eval_shape(outputs, inputs)


def _stored(x: jax.Array, dtype: str) -> jax.Array:
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
