"""Multi-level logit distillation."""

import jax
import optax

from kdjax import losses
from kdjax.core import InputError, Method, Net, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import Objective, tap
from kdjax.methods.recipes import student as one_student

STRONG = "strong/"


def mlkd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 0.1,
    weight: Weight = 0.9,
    temperature: float = 4.0,
    per_row: bool = False,
    standardised: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """The student imitates predictions, relations of classes and relations of images, over a weak and a strong view.

    `L = r (CE(weak) + CE(strong)) + a L_x`, `L_x` = `losses.multi_level`: divergences of both views at five temperatures, and of
    the weak view the products of predictions over the batch and over the classes. Batches hold `"views"`, (weak, strong); both
    networks see both, one after the other.

    Args:
      student: the net to train.
      teacher: the frozen net, run in evaluation mode.
      tx: the optimiser of the student.
      label_weight: r, of the cross-entropy of either view.
      weight: a, of `L_x`; 9 in the re-run of Sun et al. with r = 1.
      temperature: T, above 0; four others are fixed.
      per_row: masks the less sure rows and classes, as the paper means it; the released code weighs all alike.
      standardised: whether the divergences are of logits with mean 0 and deviation 1 (Sun et al., CVPR 2024, arXiv 2403.01427).
      axis_name: mapped axis that holds the batch, or None.
      micro: 1, as the rows of a batch see each other.

    Returns:
      A Method of batches of `"views"`, a weak and a strong one of each image, and `"label"`; both nets give the tap `"logits"`. Its
      networks are `"student"` and `"teacher"`.

    Reference: Jin, Wang and Lin, Multi-level Logit Distillation, CVPR 2023; the default is their code.
    """

    def terms(seen, adapted):
        sides = tuple(
            (tap(side, taps, "logits"), tap(side, taps, f"{STRONG}logits"))
            for side, taps in (("student", seen.student), ("teacher", seen.teacher))
        )
        even = tuple(tuple(losses.standardise(z) for z in views) for views in sides) if standardised else sides

        def level(part, sides):
            weights = {f"{name}_weight": float(name == part) for name in ("instance", "class", "batch")}
            options = {"temperature": temperature, "per_row": per_row, "axis_name": seen.axis_name}
            return losses.multi_level(*sides[0], *sides[1], **options, **weights)

        return {
            "cross_entropy": sum(masked_loss(losses.cross_entropy, z, seen.batch) for z in sides[0]),
            "predictions": level("instance", even),
            "classes": level("class", sides),
            "images": level("batch", sides),
        }

    weights = {"cross_entropy": label_weight, "predictions": weight, "classes": weight, "images": weight}
    objective = Objective(terms, weights)
    twice = one_student(_on_views(student), tx, objective, teacher=_on_views(teacher), axis_name=axis_name, micro=micro)
    once = one_student(student, tx, objective, teacher=teacher)
    return Method(
        lambda key, batch, given, **start: twice.init(key, _paired(batch), given, **start),
        lambda state, batch, key: twice.step(state, _paired(batch), key),
        once.predict,
        once.weights,
        twice.needs,
        lambda params, state, batch, key: twice.loss(params, state, _paired(batch), key),
        twice.update,
    )


def _paired(batch):
    """The batch with its two views in the place of the image."""
    if len(batch.get("views", ())) != 2:
        raise InputError(f"mlkd needs two views of each image in batch['views']: the batch holds {', '.join(batch)}")
    return {**batch, "image": batch["views"]}


def _on_views(net: Net) -> Net:
    """The net on (weak, strong) images, one after the other: taps of the second are named `"strong/..."`."""

    def apply(params, stats, views, *, train, key=None):
        keys = (None, None) if key is None else jax.random.split(key)
        weak, stats = net.apply(params, stats, views[0], train=train, key=keys[0])
        strong, stats = net.apply(params, stats, views[1], train=train, key=keys[1])
        return {**weak, **{STRONG + name: x for name, x in strong.items()}}, stats

    return Net(lambda key, views: net.init(key, views[0]), apply)
