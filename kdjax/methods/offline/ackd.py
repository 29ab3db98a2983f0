"""Adversarial collaboration: the student is given more last stages while it learns, and a critic holds all to the teacher."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import Method, Net, check_count, check_positive, from_linen, masked_loss
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.recipes import Objective, tap
from kdjax.methods.recipes import student as one_student
from kdjax.models import attach, fan_in_uniform

_linear = partial(nn.Dense, kernel_init=fan_in_uniform)


class _Attention(nn.Module):
    """The features `[B, M, D]` of all learners as one, weighed by what each holds, and its logits."""

    classes: int
    width: int

    @nn.compact
    def __call__(self, features: jax.Array):
        scores = _linear(1, use_bias=False, name="score")(nn.tanh(_linear(self.width, name="hidden")(features)))
        pooled = jnp.sum(nn.softmax(scores, axis=1) * features, axis=1)
        return {"pooled": pooled, "logits": _linear(self.classes, name="classifier")(pooled)}


class _Critic(nn.Module):
    """How much features look like the teacher's, `[B]` and `[B, M]`, and which learner they are of, `[B, M, M]`: logits."""

    width: int

    @nn.compact
    def __call__(self, x: dict[str, jax.Array]):
        learners = x["learners"]
        hidden, real = _linear(self.width, name="hidden"), _linear(1, name="real")
        theirs, ours = (
            nn.leaky_relu(hidden(f), 0.2) for f in (_linear(learners.shape[-1], name="teacher")(x["teacher"]), learners)
        )
        which = _linear(learners.shape[1], name="which")(ours)
        return {"teacher": real(theirs)[..., 0], "learners": real(ours)[..., 0], "which": which}


def ackd(
    student: Net,
    teacher: Net,
    learners: Sequence[Net],
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    group_weight: Weight = 1.0,
    adversarial: Weight = 0.1,
    diversity: Weight = 0.1,
    temperature: float = 4.0,
    width: int = 128,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """Auxiliary learners behind the student's last stage but one help it to take in all that the teacher knows, and are then left.

    Learner 0 is the student's own head, of features h_0 and logits z_0. Attention makes one of all: `h = sum_m a_m h_m`, `a =
    softmax_m(w' tanh(W h_m))`, with logits z. A critic D tells a linear form of the teacher's features from those of learners, and
    which learner's these are. With `KD(a, b) = T^2 KL(softmax(b / T) || softmax(a / T))`, no gradient into b,

    `L = sum over all z_m and z of (label_weight CE(., y) + weight KD(., z_t)) + group_weight KD(z_0, z) + adversarial mean_m -log
    D(h_m) + diversity mean_m CE(which(h_m), m) + L_D`.

    `L_D = -.9 log D(h_t) - .1 log(1 - D(h_t)) - mean_m log(1 - D(h_m)) + mean_m CE(which(h_m), m)` moves the critic alone, in the
    same step, and the other terms do not move it. What is shipped is the student; `"group"` is it with all learners and z.

    Only the abstract was at hand: learners, attention, critic and all weights are a reconstruction, and no number of the paper is
    claimed.

    Args:
      student: the net to train.
      teacher: the frozen net behind `given["teacher"]`.
      learners: made by `models.bridge` for the student, one each; none is `kd`.
      tx: the optimiser of all that learns.
      label_weight: of the cross-entropies.
      weight: of the imitation of the teacher.
      group_weight: of what the student takes from the group.
      adversarial: of the critic's say.
      diversity: of being told apart from the other learners.
      temperature: T, above 0.
      width: of the hidden layers of attention and critic.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"` and `"label"`; both nets give `"logits"`, the teacher `"pooled"`, the student the ends of its
      stages. Its networks are `"student"`, `"teacher"` and `"group"`.

    Reference: Liu, Huang and Liu, Improved Knowledge Distillation via Adversarial Collaboration, 2021 (arXiv 2111.14356).
    """
    check_positive(temperature=temperature)
    check_count(width=width)
    group, critic, count = group_of(learners, width), from_linen(_Critic(width)), len(learners)
    whole = attach(student, group)

    def features(seen, found):
        return {"learners": found["learners"], "teacher": lax.stop_gradient(tap("teacher", seen.teacher, "pooled"))}

    def begin(key, seen):
        keys = jax.random.split(key)
        params, stats = group.init(keys[0], seen.student)
        found, _ = group.apply(params, stats, seen.student, train=False)
        return {"group": params, "critic": critic.init(keys[1], features(seen, found))[0]}, stats

    def judge(params, stats, seen, *, train, key=None):
        found, new = group.apply(params["group"], stats, seen.student, train=train, key=key)
        x = features(seen, found)
        told, _ = critic.apply(lax.stop_gradient(params["critic"]), {}, x, train=train)
        learnt, _ = critic.apply(params["critic"], {}, lax.stop_gradient(x), train=train)
        return found | {f"told_{k}": v for k, v in told.items()} | {f"learnt_{k}": v for k, v in learnt.items()}, new

    def labels(z, seen):
        return masked_loss(losses.cross_entropy, z, seen.batch)

    def imitates(z, target):
        return losses.kl_distillation(z, target, temperature=temperature)

    def terms(seen, adapted):
        own, teacher = seen.student["logits"], seen.teacher["logits"]
        found = {"cross_entropy": labels(own, seen), "distillation": imitates(own, teacher)}
        if not learners:
            return found
        others = [adapted["logits"], *(adapted[f"learner{m}"] for m in range(1, count + 1))]
        real, made = adapted["learnt_teacher"], adapted["learnt_learners"]
        return found | {
            "learners_cross_entropy": sum(labels(z, seen) for z in others),
            "learners_distillation": sum(imitates(z, teacher) for z in others),
            "group": imitates(own, adapted["logits"]),
            "adversarial": losses.gan_generator(adapted["told_learners"], kind="non_saturating"),
            "diversity": _which(adapted["told_which"]),
            "critic": 0.1 * real + nn.softplus(-real) + jnp.mean(nn.softplus(made), 1) + _which(adapted["learnt_which"]),
        }

    weights = {
        "cross_entropy": label_weight, "distillation": weight, "learners_cross_entropy": label_weight,
        "learners_distillation": weight, "group": group_weight, "adversarial": adversarial, "diversity": diversity,
    }  # fmt: skip
    objective = Objective(terms, weights, Net(begin, judge) if learners else None)
    method = one_student(student, tx, objective, teacher=teacher, axis_name=axis_name, micro=micro)
    if not learners:
        return method

    def weights_of(state):
        params, stats = state.learner.params, state.learner.stats
        both = {"net": params["student"], "heads": params["adapter"]["group"]}, {"net": stats["student"], "heads": stats["adapter"]}
        return method.weights(state) | {"group": both}

    def predict(state, inputs):
        taps, _ = whole.apply(*weights_of(state)["group"], inputs, train=False)
        return method.predict(state, inputs) | {"group": taps}

    return method._replace(predict=predict, weights=weights_of)


def _which(logits: jax.Array) -> jax.Array:
    """The cross-entropy of learners `[B, M, M]` with their own numbers, `[B]`."""
    return jnp.mean(losses.cross_entropy(logits, jnp.broadcast_to(jnp.arange(logits.shape[1]), logits.shape[:2])), axis=1)


def group_of(learners: Sequence[Net], width: int) -> Net:
    """Learners and the attention over them and the student, as a Net of the student's taps: `"logits"` and `"pooled"` of all, the
    logits of each as `"learner1"`, ..., and all their features as `"learners"` `[B, M, D]`, the student's first.
    """
    nets = {f"learner{m}": net for m, net in enumerate(learners, 1)}

    def attention(taps):
        return from_linen(_Attention(taps["logits"].shape[-1], width))

    def init(key, taps):
        keys = jax.random.split(key, len(nets) + 1)
        made = {name: net.init(own, taps) for own, (name, net) in zip(keys[1:], nets.items(), strict=True)}
        features = jnp.repeat(taps["pooled"][:, None], len(keys), axis=1)
        params = {name: params for name, (params, _) in made.items()} | {"attention": attention(taps).init(keys[0], features)[0]}
        return params, {name: stats for name, (_, stats) in made.items()}

    def apply(params, stats, taps, *, train, key=None):
        found, new = {}, {}
        for name, net in nets.items():
            found[name], new[name] = net.apply(params[name], stats[name], taps, train=train, key=key)
        features = jnp.stack([taps["pooled"], *(one["pooled"] for one in found.values())], axis=1)
        together, _ = attention(taps).apply(params["attention"], {}, features, train=train)
        return {**together, "learners": features, **{name: one["logits"] for name, one in found.items()}}, new

    return Net(init, apply)
