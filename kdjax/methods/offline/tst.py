"""Teaching what you should teach: an augmentation learns what is easy for the teacher and hard for the student."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.core import Tracer

from kdjax import losses
from kdjax.augment import learned_policies
from kdjax.augment.policies import LEARNED, POLICIES
from kdjax.core import (
    Frozen,
    InputError,
    Learner,
    Method,
    Net,
    check_optimiser,
    check_option,
    example_keys,
    learn,
    masked_loss,
    read_by_name,
    weighted_sum,
    weights_at,
    with_label_weights,
)
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.start import started


class Pace(NamedTuple):
    """How fast the augmenter learns; all float32.

    Attributes:
      rate: its learning rate.
      total: sum of its losses in this pass over the data.
      before: mean of its losses in the pass before.
    """

    rate: jax.Array
    total: jax.Array
    before: jax.Array


class Tst(NamedTuple):
    """A student and the augmentation of its images, around a frozen teacher.

    Attributes:
      student: what is shipped.
      augmenter: params `{"logits" [14], "magnitudes" [11]}` of `augment.learned_policies`, 0 at first.
      pace: of the augmenter.
      teacher: the frozen net.
      step: steps done, those of student and augmenter together.
    """

    student: Learner
    augmenter: Learner
    pace: Pace
    teacher: Frozen
    step: jax.Array


def tst(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    epochs: int,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: Any = 4.0,
    phases: Sequence[float] = (0.125, 0.375),
    length: float = 0.125,
    picks: int = 4,
    easy_weight: Weight = 1.0,
    hard_weight: Weight = 1.0,
    rate: float = 0.01,
    momentum: float = 0.9,
    sigmoid_logits: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Two phases that alternate: the student learns from images and their augmented copies, or the augmentation learns.

    A step of the student, on every image x and its copy x~: `L = CE(z_s, y) + KD(z_s, z_t)`, the mean over both, where the teacher
    sees the same image. A step of the augmenter, with both networks in evaluation mode:
    `L = a CE(z_t(x~), y) - b log(1 - p_s(y | x~) + 1e-8)`. In each of its phases the augmenter starts from a fresh optimiser; its
    rate falls by a tenth after a pass over the data in which the loss fell by less than 0.02 and changed by less than 2 %. The run
    is longer by these phases (`augmenter_epochs`); the student's optimiser does not see them. The metrics of the one that does not
    learn are 0.

    Args:
      student: the net to train.
      teacher: the frozen net.
      tx: the student's optimiser.
      steps_per_epoch: of the run.
      epochs: of the student, without those of the augmenter.
      label_weight: factor of the cross-entropy.
      weight: factor of the imitation of the teacher's softened logits, which holds T^2.
      temperature: T, above 0.
      phases: when the augmenter learns, in fractions of the student's epochs; of the 240 of CIFAR-100, before 30 and 90.
      length: for how long, each time, likewise; 30 of 240.
      picks: policies applied to a batch, drawn anew at each step.
      easy_weight: a, how much copies are to be easy for the teacher.
      hard_weight: b, how much they are to be hard for the student.
      rate: the augmenter's first learning rate.
      momentum: the augmenter's.
      sigmoid_logits: takes the sigmoid of a policy's log-odds for its log-odds, as the released code does: none is then applied
        less often than every other time.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`, `"label"` and `"index"`; both nets give the tap `"logits"`. Its networks are `"student"` and
      `"teacher"`.

    Reference: Shao et al., Teaching What You Should Teach: A Data-Based Distillation Method, IJCAI 2023 (arXiv 2212.05422). Its
    policies are small networks fitted to image operations; here they are the operations. The paper states a max-min problem; the
    augmenter's loss here is that of the released code.
    """
    check_optimiser(tx)
    check_option("picks", picks, lambda n: 1 <= n <= len(POLICIES), f"1 to {len(POLICIES)}, the policies")
    before, passes = augmenter_epochs(epochs, phases, length)
    starts = jnp.array([(epoch + k * passes) * steps_per_epoch for k, epoch in enumerate(before)], jnp.int32)
    weights = {"cross_entropy": label_weight, "distillation": weight, "easy": easy_weight, "hard": hard_weight}

    def init(key, batch, given, **start):
        params = {"logits": jnp.zeros(len(POLICIES)), "magnitudes": jnp.zeros(len(LEARNED))}
        augmenter = Learner(params, {}, optax.sgd(rate, momentum).init(params))
        pace = Pace(jnp.float32(rate), jnp.float32(0), jnp.float32(jnp.inf))
        own, stats = started({"student": student.init(key, batch["image"])}, start)["student"]
        return Tst(Learner(own, stats, tx.init(own)), augmenter, pace, given["teacher"], jnp.int32(0))

    def step(state, batch, key):
        batch = with_label_weights(batch, axis_name)
        rows = {name: batch[name] for name in ("image", "label", "label_weight")}
        own_keys = example_keys(jax.random.fold_in(key, 1), batch["index"])
        picked = jax.random.choice(jax.random.fold_in(key, 2), len(POLICIES), (picks,), replace=False)

        def ask(net, part, x):
            return net.apply(part.params, part.stats, x, train=False)[0]["logits"]

        def changed(params, keys, images):
            logits = jax.nn.sigmoid(params["logits"]) if sigmoid_logits else params["logits"]

            def one(key, image):
                return learned_policies(key, image, picked=picked, logits=logits, magnitudes=params["magnitudes"])

            return jax.vmap(one)(keys, images)

        def imitation(params, copies, rows):
            # Joined in here, so that a slice of the batch has its images beside their copies.
            batch = _both(rows, copies)
            taps, stats = student.apply(params, state.student.stats, batch["image"], train=True, key=key)
            wanted = ask(teacher, state.teacher, batch["image"])
            terms = {
                "cross_entropy": masked_loss(losses.cross_entropy, taps["logits"], batch),
                "distillation": losses.kl_distillation(taps["logits"], wanted, temperature=temperature),
            }
            value, metrics = weighted_sum(terms, weights_at(weights, state.step), micro=micro)
            return value, (stats, metrics)

        def invention(params, keys, batch):
            copies = changed(params, keys, batch["image"])
            terms = {
                "easy": masked_loss(losses.cross_entropy, ask(teacher, state.teacher, copies), batch),
                "hard": masked_loss(losses.unlikelihood, ask(student, state.student, copies), batch),
            }
            value, metrics = weighted_sum(terms, weights_at(weights, state.step), micro=micro)
            return value, ({}, metrics)

        def study():
            copies = changed(state.augmenter.params, own_keys, batch["image"])
            learner, metrics = learn(imitation, state.student, tx, copies, rows, axis_name=axis_name, micro=micro)
            return learner, state.augmenter, state.pace, _all_metrics(metrics)

        def invent():
            pace, augmenter = state.pace, state.augmenter
            begins = jnp.any(state.step == starts)
            fresh = jax.tree.map(lambda x: jnp.where(begins, jnp.zeros_like(x), x), augmenter.opt)
            pace = Pace(*(jnp.where(begins, x, y) for x, y in zip((rate, 0.0, jnp.inf), pace, strict=True)))
            sgd, start = optax.sgd(pace.rate, momentum), augmenter.replace(opt=fresh)
            learner, metrics = learn(invention, start, sgd, own_keys, rows, axis_name=axis_name, micro=micro)
            ends = (state.step + 1) % steps_per_epoch == 0
            return state.student, learner, _after(pace, metrics["loss"], ends, steps_per_epoch), _all_metrics(metrics)

        inventing = jnp.any((state.step >= starts) & (state.step < starts + passes * steps_per_epoch))
        learner, augmenter, pace, metrics = lax.cond(inventing, invent, study)
        metrics["augmenting"] = inventing.astype(jnp.float32)
        return Tst(learner, augmenter, pace, state.teacher, state.step + 1), metrics

    return Method(init, step, *read_by_name(student=student, teacher=teacher), needs=("teacher",))


def augmenter_epochs(epochs: int, phases: Sequence[float], length: float) -> tuple[tuple[int, ...], int]:
    """When the augmenter of `tst` learns, in whole epochs.

    Args:
      epochs: of the student.
      phases: fractions of them, ascending.
      length: of each phase, likewise.

    Returns:
      The epochs of the student before which it learns, counted from 0, and for how many epochs, at least 1.

    Raises:
      InputError: for fractions that are not from 0 to below 1, or do not ascend.

    >>> augmenter_epochs(240, (0.125, 0.375), 0.125)
    ((30, 90), 30)
    """
    if isinstance(length, Tracer):
        raise InputError("length cannot be swept: it fixes how many steps there are; expected one number")
    rising = all(a <= b for a, b in zip((0.0, *phases), (*phases, 1.0), strict=True)) and 1 not in phases
    check_option("phases", tuple(phases), lambda _: rising, "fractions of the run, from 0 to below 1, ascending")
    check_option("length", length, lambda x: x > 0, "a fraction of the run, above 0")
    return tuple(min(round(phase * epochs), epochs - 1) for phase in phases), max(1, round(length * epochs))


def _both(rows, copies):
    """Each image behind its copy, so that the rows of a device stay there."""
    pair = lambda a, b: jnp.stack([a, b], 1).reshape(-1, *b.shape[1:])  # noqa: E731
    return jax.tree.map(pair, rows | {"image": copies}, rows)


def _all_metrics(metrics):
    names = ("cross_entropy", "distillation", "easy", "hard", "loss")
    return {name: jnp.asarray(metrics.get(name, 0.0), jnp.float32) for name in names}


def _after(pace, loss, ends, steps):
    """The pace after a step, the last one of a pass where `ends`."""
    total = pace.total + loss
    fall = pace.before - total / steps
    slow = (fall < 0.02) & (jnp.abs(fall) < 0.02 * jnp.abs(pace.before))
    after = Pace(jnp.where(slow, 0.9 * pace.rate, pace.rate), jnp.zeros_like(total), total / steps)
    return jax.tree.map(lambda new, old: jnp.where(ends, new, old), after, pace._replace(total=total))
