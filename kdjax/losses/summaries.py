"""Losses that compare what is kept of a feature map: where it is active, which channels go together, how layers relate.

Only the summaries need equal shapes, so student and teacher may differ in channels, in size, or in both. Maps of unequal
sizes are average-pooled to the smaller of the two.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError, check_option
from kdjax.core.pool import match_sizes
from kdjax.core.shapes import check_shapes
from kdjax.core.unit import unit
from kdjax.losses._check import check_flag, wide
from kdjax.losses._geometry import absolute, root, shrink
from kdjax.losses._positions import counted, shown


def attention_transfer(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    power: int = 2,
    variant: Literal["squared", "paper"] = "squared",
    where: ArrayLike | None = None,
) -> jax.Array:
    """Compares where two maps are active, whatever their channels.

        a = u / |u|,   u = mean over channels of |f|^power, flattened
        "squared": mean over positions of (a_s - a_t)^2        "paper": |a_s - a_t|_2

    The gradient stops at the teacher. A map of zeros has attention 0 and gradient 0.

    Args:
      student: map `[B, H, W, C]` of one stage.
      teacher: map `[B, h, w, D]` of one stage.
      power: a whole number above 0.
      variant: `"squared"` (the benchmarks' code; their weight is 1000) or `"paper"` (the norm itself, not squared).
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for other shapes, or an unknown power or variant.

    Reference:
      Zagoruyko, Komodakis, "Paying More Attention to Attention: Improving the Performance of Convolutional Neural
      Networks via Attention Transfer", ICLR 2017, arXiv 1612.03928. Differs from the benchmarks' code at odd powers,
      where that keeps the sign of f.

    >>> s, t = jnp.zeros((2, 1, 1, 2, 3)).at[0, 0, 0, 0].set(1.0).at[1, 0, 0, 1].set(5.0)
    >>> attention_transfer(s, t)  # one looks left, one looks right
    Array([1.], dtype=float32)
    """
    _check_maps(student, teacher)
    _check_whole("power", power)
    check_option("variant", variant, lambda v: v in ("squared", "paper"), "'squared' or 'paper'")
    s, t = match_sizes(*shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1))
    s, t = (jnp.mean(absolute(shrink(x) ** power), axis=-1, keepdims=True) for x in (s, t))
    squares = (_direction(s) - _direction(t)) ** 2
    if variant == "paper":
        return counted(root(jnp.sum(squares, axis=(1, 2, 3))), where)
    return counted(jnp.mean(squares, axis=(1, 2, 3)), where)


def attention_below(shallow: ArrayLike, deep: ArrayLike) -> jax.Array:
    """A layer looks where the layer behind it looks: attention distillation within one network.

        mean over positions of (a_shallow - a_deep)^2,   a = softmax over positions of the mean over channels of f^2

    The deeper map is first brought to the size of the shallower one, bilinearly. The gradient stops at it.

    Args:
      shallow: map `[B, H, W, C]`.
      deep: map `[B, h, w, D]` of a later layer, not larger.

    Returns:
      `[B]`. The objective is the sum over neighbouring layers; Self-KD-Lib multiplies it by 1000.

    Raises:
      InputError: for other shapes.

    Reference:
      Hou, Ma, Liu, Loy, "Learning Lightweight Lane Detection CNNs by Self Attention Distillation", ICCV 2019, arXiv 1908.00821.
      The upsampling in front of the attention is that of Self-KD-Lib.

    >>> x = jnp.arange(8.0).reshape(1, 2, 2, 2)
    >>> float(attention_below(x, x)[0])
    0.0
    """
    check_shapes("B h w D", check_shapes("B H W C", shallow=shallow), deep=deep)
    f, g = wide(shallow), lax.stop_gradient(wide(deep))
    if g.shape[1] > f.shape[1] or g.shape[2] > f.shape[2]:
        raise InputError(f"deep has shape {g.shape} but shallow has shape {f.shape}: expected no larger height and width")
    g = jax.image.resize(g, (*f.shape[:3], g.shape[3]), "bilinear")
    a, b = (jax.nn.softmax(jnp.mean(x**2, axis=-1).reshape(len(x), -1)) for x in (f, g))
    return jnp.mean((a - b) ** 2, axis=1)


def factor_transfer(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    p1: int = 2,
    p2: int = 1,
    channel_pool: bool = True,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Compares the directions of two factors: the teacher's paraphrased map and the student's translated one.

        mean over elements of |a_s - a_t|^p2,   a = u / |u|,   u = mean over channels of f^p1, flattened

    The gradient stops at the teacher. A factor of zeros has direction 0 and gradient 0.

    Args:
      student: the translator's output `[B, H, W, C]`.
      teacher: the paraphraser's output `[B, h, w, D]`.
      p1: power in the mean over channels, a whole number above 0; odd ones keep the sign.
      p2: power of the difference, a whole number above 0.
      channel_pool: True is the benchmarks' code; False keeps the channels, u = f, as in the paper. Then the channels
        must be equal, and p1 counts for nothing.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for other shapes or powers.

    Reference:
      Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018,
      arXiv 1802.04977.

    >>> s, t = jnp.zeros((2, 1, 1, 2, 3)).at[0, 0, 0, 0].set(1.0).at[1, 0, 0, 1].set(5.0)
    >>> factor_transfer(s, t)
    Array([1.], dtype=float32)
    """
    check_flag("channel_pool", channel_pool)
    _check_maps(student, teacher, channels="D" if channel_pool else "C")
    _check_whole("p1", p1)
    _check_whole("p2", p2)
    s, t = match_sizes(*shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1))
    if channel_pool:
        s, t = (jnp.mean(shrink(x) ** p1, axis=-1, keepdims=True) for x in (s, t))
    return counted(jnp.mean(absolute((_direction(s) - _direction(t)) ** p2), axis=(1, 2, 3)), where)


def flow_of_solution(
    student_low: ArrayLike,
    student_high: ArrayLike,
    teacher_low: ArrayLike,
    teacher_high: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Compares how one layer's channels go together with a later layer's, in the student and in the teacher.

        mean over c, d of (G_s - G_t)^2,   G[c, d] = mean over positions of low[c] high[d]

    Of `low` and `high` the larger map is average-pooled to the other. The gradient stops at the teacher.

    Args:
      student_low: map `[B, H, W, C]` of the earlier layer.
      student_high: map `[B, h, w, D]` of the later layer.
      teacher_low: map with the same C.
      teacher_high: map with the same D.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`.

    Raises:
      InputError: for other shapes.

    Reference:
      Yim, Joo, Bae, Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
      Learning", CVPR 2017.

    >>> x = jnp.ones((1, 2, 2, 3))
    >>> flow_of_solution(x, x, x, 3 * x)
    Array([4.], dtype=float32)
    """
    sizes = check_shapes("B H W C", student_low=student_low)
    sizes = check_shapes("B h w D", sizes, student_high=student_high)
    sizes = check_shapes("B I J C", sizes, teacher_low=teacher_low)
    check_shapes("B i j D", sizes, teacher_high=teacher_high)
    maps = (wide(x) for x in (student_low, student_high, teacher_low, teacher_high))
    s_low, s_high, t_low, t_high = shown(where, *maps, axes=1)
    teacher = lax.stop_gradient(_flow(t_low, t_high))
    return counted(jnp.mean((_flow(s_low, s_high) - teacher) ** 2, axis=(1, 2)), where)


def neuron_selectivity(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """Compares the sets of patterns that two layers' channels select: their squared maximum mean discrepancy.

        mean k(t, t) + mean k(s, s) - 2 mean k(s, t),   k(a, b) = <a / |a|, b / |b|>^2

    The means are over pairs of channels, each taken as a vector over positions. The gradient stops at the teacher. A
    channel of zeros has direction 0 and gradient 0.

    Args:
      student: map `[B, H, W, C]`.
      teacher: map `[B, h, w, D]`.
      where: bool `[B]`, the rows that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[B]`, at least 0.

    Raises:
      InputError: for other shapes.

    Reference:
      Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017, arXiv 1707.01219. Of the
      paper's kernels this is the polynomial one, which it and the benchmarks use.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)  # two channels that select different places
    >>> neuron_selectivity(x, x[..., :1])  # 1 + 1/2 - 2 * 1/2
    Array([0.5], dtype=float32)
    """
    _check_maps(student, teacher)
    maps = shown(where, wide(student), lax.stop_gradient(wide(teacher)), axes=1)
    s, t = (unit(x, (1, 2)) for x in match_sizes(*maps))
    return counted(_kernel(t, t) + _kernel(s, s) - 2 * _kernel(s, t), where)


def _check_maps(student: Any, teacher: Any, channels: str = "D") -> None:
    sizes = check_shapes("B H W C", student=student)
    check_shapes(f"B h w {channels}", sizes, teacher=teacher)


def _check_whole(name: str, power: Any) -> None:
    def good(v: Any) -> bool:
        return not isinstance(v, bool) and int(v) == v and v > 0

    check_option(name, power, good, "a whole number above 0")


def _direction(x: jax.Array) -> jax.Array:
    return unit(x, (1, 2, 3))


def _flow(low: jax.Array, high: jax.Array) -> jax.Array:
    low, high = match_sizes(low, high)
    return jnp.einsum("bhwc,bhwd->bcd", low, high, precision="highest") / (low.shape[1] * low.shape[2])


def _kernel(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(jnp.einsum("bhwc,bhwd->bcd", a, b, precision="highest") ** 2, axis=(1, 2))
