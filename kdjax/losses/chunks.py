"""Losses of logits that are never held as a whole."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from kdjax.core.arrays import ArrayLike
from kdjax.core.check import InputError, check_option
from kdjax.core.mesh import on_any_mesh, placed
from kdjax.core.shapes import check_shapes
from kdjax.losses._positions import counted, shown


def in_chunks(
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    student: ArrayLike,
    student_head: ArrayLike,
    teacher: ArrayLike,
    teacher_head: ArrayLike,
    *,
    size: int = 256,
    where: ArrayLike | None = None,
) -> jax.Array:
    """A loss of logits `student @ student_head` and `teacher @ teacher_head`, some positions after the other.

    Where the vocabulary is large, the logits of a whole text are the largest arrays of a step. Here only those of `size` positions
    are there at a time; on the way back they are computed again. Products and sums run in float32, and so does the sum of the
    student's head gradient over the chunks. The gradient stops at the teacher, and at numbers that the loss brings along. On a mesh
    of Explicit axes these are options of a `functools.partial`.

    Args:
      loss: `(student [n, K], teacher [n, K]) -> [n]`, each position by itself, such as
        `functools.partial(kl_distillation, temperature=2.0)`.
      student: hidden states `[..., D]`.
      student_head: `[D, K]`.
      teacher: hidden states `[..., E]`.
      teacher_head: `[E, K]`.
      size: positions at a time, at least 1; a last chunk is filled up.
      where: bool `[...]`, the positions that count; others give 0, with gradient 0 whatever they hold. None: all count.

    Returns:
      `[...]`, what the loss gives.

    Raises:
      InputError: for shapes that do not fit, a size that is not a whole number of at least 1, or a loss that brings an array along
        otherwise.

    Reference:
      Logits in chunks that are computed again: Hsu, Dai, Kothapalli, Song, Tang, Zhu, Shimizu, Sahni, Ning, Chen, "Liger Kernel:
      Efficient Triton Kernels for LLM Training", 2024, arXiv 2410.10989.

    >>> from kdjax.losses import kl_distillation
    >>> hidden, head = jnp.arange(6.0).reshape(3, 2), jnp.eye(2)
    >>> in_chunks(partial(kl_distillation, temperature=1.0), hidden, head, hidden, head, size=2).tolist()
    [0.0, 0.0, 0.0]
    """
    check_option("size", size, lambda n: isinstance(n, int) and not isinstance(n, bool) and n >= 1, "a whole number, 1 or more")
    sizes = check_shapes("... D", student=student)
    theirs = check_shapes("... E", {"...": sizes["..."]}, teacher=teacher)
    sizes = check_shapes("D K", {"D": sizes["D"]}, student_head=student_head)
    check_shapes("E K", {"E": theirs["E"], "K": sizes["K"]}, teacher_head=teacher_head)
    heads = jnp.asarray(student_head), jnp.asarray(teacher_head)
    hidden = shown(where, student, teacher)
    options, within = _options(loss)

    def spread(hidden, heads, options):
        rows = [x.reshape(-1, x.shape[-1]) for x in hidden]
        count = rows[0].shape[0]
        at_once = min(size, max(count, 1))
        chunks = [jnp.pad(x, ((0, -count % at_once), (0, 0))).reshape(-1, at_once, x.shape[-1]) for x in rows]
        some = [jax.eval_shape(_logits, chunk[0], head) for chunk, head in zip(chunks, heads, strict=True)]
        # What the loss brings along, such as the temperature of a sweep, may be traced.
        try:
            pure, brought = jax.closure_convert(within(options), *(jnp.zeros(z.shape, z.dtype) for z in some))
        except ValueError as error:
            if "context mesh" not in str(error):
                raise
            raise InputError("the loss holds an array of its own: expected arrays as options of a functools.partial") from error
        return jnp.asarray(_chunks(pure, *chunks, *heads, brought)).reshape(-1)[:count].reshape(hidden[0].shape[:-1])

    found = on_any_mesh(spread, lambda hidden, *others: P(*placed(hidden[0])[1][:-1]))(hidden, heads, options)
    return counted(found, where)


def _options(loss: Callable[..., jax.Array]) -> tuple[list[jax.Array], Callable[[list[jax.Array]], Callable[..., jax.Array]]]:
    """The arrays among the options of a `partial`, and the loss with others in their places."""
    if not isinstance(loss, partial):
        return [], lambda options: loss
    leaves, tree = jax.tree.flatten((loss.args, loss.keywords))
    at = [k for k, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

    def within(options):
        args, keywords = tree.unflatten([options[at.index(k)] if k in at else leaf for k, leaf in enumerate(leaves)])
        return partial(loss.func, *args, **keywords)

    return [leaves[k] for k in at], within


def _product(a: jax.Array, b: jax.Array, axes: tuple[int, int]) -> jax.Array:
    dtype = jnp.promote_types(jnp.result_type(a, b), jnp.float32)
    return lax.dot_general(a, b, (((axes[0],), (axes[1],)), ((), ())), preferred_element_type=dtype)


def _logits(hidden: jax.Array, head: jax.Array) -> jax.Array:
    return _product(hidden, head, (1, 0))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunks(loss: Any, student: Any, teacher: Any, student_head: Any, teacher_head: Any, brought: Any) -> jax.Array:
    def one(rows):
        return loss(_logits(rows[0], student_head), _logits(rows[1], teacher_head), *brought)

    return lax.map(one, (student, teacher))


def _forward(loss, *arrays):
    return _chunks(loss, *arrays), arrays


def _backward(loss, kept, cotangent):
    student, teacher, student_head, teacher_head, brought = kept

    def one(total, rows):
        hidden, theirs, weight = rows
        theirs = _logits(theirs, teacher_head)
        _, back = jax.vjp(lambda z: loss(z, theirs, *brought), _logits(hidden, student_head))
        grad = back(weight)[0].astype(hidden.dtype)
        return total + _product(hidden, grad, (0, 0)), _product(grad, student_head, (1, 1)).astype(hidden.dtype)

    zeros = jnp.zeros(student_head.shape, jnp.promote_types(student_head.dtype, jnp.float32))
    total, of_student = lax.scan(one, zeros, (student, teacher, cotangent))
    none = jax.tree.map(jnp.zeros_like, (teacher, teacher_head, brought))
    return of_student, none[0], total.astype(student_head.dtype), none[1], none[2]


_chunks.defvjp(_forward, _backward)
