"""DeepInversion and its adaptive form."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import Method, Net, check_option
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.collectives import take
from kdjax.methods import recipes
from kdjax.methods.data_free._rounds import Synthesis, rounds
from kdjax.methods.data_free._terms import batch_norm_term
from kdjax.methods.data_free._views import shifted
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective


def deep_inversion(
    student: Net,
    teacher: Net,
    student_tx: optax.GradientTransformation,
    pixel_tx: optax.GradientTransformation,
    *,
    shape: Sequence[int],
    classes: int,
    one_hot: Weight = 1.0,
    batch_norm: Weight = 10.0,
    adversarial: Weight = 0.0,
    total_variation: Weight = 0.0,
    norm: Weight = 0.0,
    prior: Literal["l1", "l2"] = "l1",
    roll: int = 4,
    mirror: bool = True,
    synthesis_steps: int = 1000,
    student_steps: int = 400,
    pool: int = 51200,
    temperature: float = 20.0,
    padding: int = 4,
    objective: Objective | None = None,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    axis_name: AxisName = None,
) -> Method:
    """Pixels are moved until the teacher sees a class in them, and the statistics of its data; the student learns from them.

    Pixels: `one_hot CE(z_t, y) + batch_norm sum_l D_l - adversarial JS(p_t, p_s) + total_variation TV(x) + norm |x|_2`, `D_l` the
    distance at the teacher's batch-norm layer l, JS the `losses.jensen_shannon` at T = 3, on images that are rolled by up to `roll`
    pixels and mirrored at random, all of a batch alike, in each step. A round begins with noise, and ends with the images of the
    least loss. Student: `T^2 KL(p_t || p_s)` on crops and mirror images of the pool. With `adversarial` above 0 it is ADI.

    The defaults are those of the benchmark of Fang et al. (arXiv 2105.08584), with Adam at (0.5, 0.99) for pixels held in their
    range; ADI has `adversarial=1` there. The authors' CIFAR-10 has Adam at 0.1 for 2,000 steps, `batch_norm=100`,
    `total_variation=2.5e-5, prior="l2", roll=2, mirror=False`.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"`, and batch norm where `batch_norm` is not 0.
      student_tx: the student's optimiser.
      pixel_tx: the optimiser of the pixels, in units of `std`; it begins anew in each round.
      shape: of an image, (height, width, channels).
      classes: of the teacher.
      one_hot: factor of the cross-entropy with the class asked for.
      batch_norm: factor of the batch-norm statistics term.
      adversarial: factor of the disagreement with the student.
      total_variation: factor of `losses.image_prior`.
      norm: factor of `losses.image_norm`.
      prior: of `losses.image_prior`.
      roll: pixels, the most that images are rolled by to each side.
      mirror: whether images are mirrored in every other step.
      synthesis_steps: steps of the pixels in a round.
      student_steps: student steps in a round.
      pool: how many images it holds.
      temperature: T of the student's imitation.
      padding: of the crops that the student sees.
      objective: what the student is asked for in place of the imitation: that of any offline method.
      mean: of the data the teacher was trained on, with which images begin.
      std: of that data.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`.

    Reference: Yin et al., Dreaming to Distill: Data-Free Knowledge Transfer via DeepInversion, CVPR 2020 (arXiv 1912.08795).
    """
    height, width, channels = shape
    check_option("roll", roll, lambda n: 0 <= n < min(height, width), "a whole number of pixels, below the sides of an image")
    centre, scale = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), (1, 1, 1, channels)) for x in (mean, std))

    def start(key, rows, memory):
        return {"pixels": jax.random.normal(key, (rows, *shape))}, {}

    def make(params, stats, index):
        return take(params["pixels"], index) * scale + centre, stats

    def in_range(params):
        return {"pixels": jnp.clip(params["pixels"], (0.0 - centre) / scale, (1.0 - centre) / scale)}

    def terms(draft, judge):
        seen, plain = judge(_move(draft.key, draft.images, roll, mirror)), (draft.images - centre) / scale
        return {
            "one_hot": losses.cross_entropy(seen.teacher["logits"], seen.labels),
            "batch_norm": batch_norm_term(seen, batch_norm),
            "adversarial": -losses.jensen_shannon(
                seen.student["logits"], seen.teacher["logits"], temperature=3.0, stop_teacher=False
            ),
            "total_variation": losses.image_prior(plain, norm=prior, axis_name=axis_name),
            "norm": losses.image_norm(plain, axis_name=axis_name),
        }, ()

    weights = {
        "one_hot": one_hot,
        "batch_norm": batch_norm,
        "adversarial": adversarial,
        "total_variation": total_variation,
        "norm": norm,
    }
    asked = objective or kd_objective(weight=1.0, temperature=temperature)
    return rounds(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name),
        Synthesis(start, make, terms, project=in_range), pixel_tx, weights=weights, classes=classes, pool=pool,
        synthesis_steps=synthesis_steps, student_steps=student_steps, augment=shifted(padding), axis_name=axis_name,
    )  # fmt: skip


def _move(key, images, roll, mirror):
    """All images of a batch alike."""
    shift = jax.random.randint(jax.random.fold_in(key, 0), (2,), -roll, roll + 1)
    images = jnp.roll(images, shift, (1, 2))
    turned = jax.random.bernoulli(jax.random.fold_in(key, 1)) if mirror else False
    return jnp.where(turned, images[:, :, ::-1], images)
