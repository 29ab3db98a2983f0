"""Cross-architecture distillation: a transformer teaches a convolutional net."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from kdjax import augment
from kdjax.core import (
    Frozen,
    Learner,
    Method,
    Net,
    check_option,
    example_keys,
    from_linen,
    learn,
    new_learner,
    weighted_sum,
    weights_at,
    with_label_weights,
)
from kdjax.core.arrays import AxisName, Weight
from kdjax.methods.offline.cross_attention import cakd_objective, patches_of
from kdjax.methods.recipes import Outputs, labels_objective
from kdjax.methods.recipes import student as one_student
from kdjax.models import fan_in_uniform


class CrossArchitecture(NamedTuple):
    """A student with its projectors, and the critic that tells their features from the teacher's.

    Attributes:
      learner: params and stats are `{"student": ..., "adapter": ...}`.
      critic: of features `[B, C]`.
      given: the teacher's weights.
      step: optimisation steps done.
    """

    learner: Learner
    critic: Learner
    given: dict[str, Frozen]
    step: jax.Array


class _Critic(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array):
        for width in (256, 64):
            x = nn.leaky_relu(nn.Dense(width, kernel_init=fan_in_uniform)(x), 0.2)
        return {"logit": nn.Dense(1, kernel_init=fan_in_uniform)(x)[:, 0]}


def cakd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    attention: Weight = 1.0,
    value: Weight = 1.0,
    feature: Weight = 1.0,
    adversarial: Weight = 0.1,
    saturating: bool = True,
    views: float = 0.5,
    replaced: float = 0.5,
    value_term: Literal["relation", "square"] = "relation",
    dropout: float = 0.1,
    layer: str = "",
    block: int = 0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method:
    """A transformer teaches a convolutional net through projectors that a critic cannot tell from it.

    The student and its projectors take a step on `label_weight CE + L_x + adversarial log(1 - D(l(f_s(x~))))`, `L_x` that of
    `cakd_objective`; then the critic D takes one on `-log D(h_t(x)) - log(1 - D(l(f_s(x~))))`, of features averaged over places.
    `x~` is, by chance, a moved image (`moved`), else the image; its batch statistics do not enter the running ones.

    The authors' code is not public. Projectors, chances and the critic (C to 256 to 64 to 1) follow re-implementations; the paper
    shares a linear layer within a 4x4 neighbourhood. The weights, the labels and what moves an image are reconstructed here, and
    so is that the critic has the student's optimiser.

    Args:
      student: the net to train, with stages.
      teacher: the frozen transformer.
      tx: the optimiser of the student with its projectors, and of the critic.
      label_weight: factor of the cross-entropy with the labels.
      attention: as in `cakd_objective`, and so are all that are not told here.
      value: factor.
      feature: factor.
      adversarial: factor of the critic's term.
      saturating: False takes `-log D` in its place.
      views: chance of a moved image.
      replaced: chance.
      value_term: form.
      dropout: chance.
      layer: the student's map.
      block: the teacher's.
      axis_name: mapped axis that holds the batch, or None.
      micro: slices of the batch to accumulate gradients over.

    Returns:
      A Method of batches of `"image"`, `"label"` and `"index"`; the student gives `"logits"` and the map, the teacher the queries,
      keys, values and tokens of the block. Its networks are `"student"` and `"teacher"`; beside them stands the `"critic"`.

    Reference: Liu et al., Cross-Architecture Knowledge Distillation, ACCV 2022 (arXiv 2207.05273).
    """
    check_option("views", views, lambda p: 0 <= p <= 1, "a probability in [0, 1]")
    labels = labels_objective(label_weight)
    projected = cakd_objective(
        attention=attention, value=value, feature=feature, replaced=replaced, value_term=value_term, dropout=dropout, layer=layer,
        block=block,
    )  # fmt: skip
    weights = {**labels.weights, **projected.weights, "adversarial": adversarial}
    projectors, critic = projected.adapter, from_linen(_Critic())
    assert projectors
    plain = one_student(student, tx, projected, teacher=teacher, axis_name=axis_name)
    move = augment.random_apply(moved, p=views)

    def look(state, params, images, batch, key):
        """What the student and its projectors make of images; the teacher sees those of the batch."""
        stats, given = state.learner.stats, state.given["teacher"]
        if (taps_t := batch.get("teacher")) is None:
            taps_t, _ = teacher.apply(given.params, given.stats, batch["image"], train=False)
        taps_s, new = student.apply(params["student"], stats["student"], images, train=True, key=key)
        seen = Outputs(taps_s, taps_t, state.given, batch, jax.random.fold_in(key, 1), state.step, axis_name, params["student"])
        adapted, _ = projectors.apply(params["adapter"], stats["adapter"], seen, train=True)
        return seen, adapted, {**stats, "student": new}

    def judge(params, features):
        return critic.apply(params, {}, jnp.mean(features, 1), train=True)[0]["logit"]

    def init(key, batch, given, **start):
        learner, given, step = plain.init(key, batch, given, **start)
        started = CrossArchitecture(learner, learner, given, step)
        shape = jax.eval_shape(lambda: patches_of(look(started, learner.params, batch["image"], batch, key)[0], block)[0]).shape
        return started._replace(critic=new_learner(jax.random.fold_in(key, 2), critic, tx, jnp.zeros((shape[0], shape[2]))))

    def step(state, batch, key):
        again = jax.random.fold_in(key, 2)
        view = jax.vmap(move)(example_keys(again, batch["index"]), batch["image"])

        def imitate(params, batch):
            seen, adapted, stats = look(state, params, batch["image"], batch, key)
            logit = judge(state.critic.params, look(state, params, batch["view"], batch, again)[1]["feature"])
            fooled = -jax.nn.softplus(logit) if saturating else jax.nn.softplus(-logit)
            terms = {**labels.terms(seen, {}), **projected.terms(seen, adapted), "adversarial": fooled}
            value, metrics = weighted_sum(terms, weights_at(weights, state.step), micro=micro)
            return value, (stats, metrics)

        rows = with_label_weights(batch, axis_name) | {"view": view}
        learner, metrics = learn(imitate, state.learner, tx, rows, axis_name=axis_name, micro=micro)
        seen, made, _ = look(state, learner.params, view, batch, again)
        real, made = patches_of(seen, block)[0], made["feature"]

        def tell(params, real, made):
            terms = {"critic": jax.nn.softplus(-judge(params, real)) + jax.nn.softplus(judge(params, made))}
            value, metrics = weighted_sum(terms, {})
            return value, ({}, metrics)

        judged, told = learn(tell, state.critic, tx, real, made, axis_name=axis_name, micro=micro)
        return CrossArchitecture(learner, judged, state.given, state.step + 1), {**told, **metrics}

    def weights_of(state):
        return plain.weights(state) | {"critic": (state.critic.params, state.critic.stats)}

    return Method(init, step, plain.predict, weights_of, plain.needs)


def moved(key: jax.Array, image: jax.Array) -> jax.Array:
    """An image `[H, W, C]` as `cakd` moves it: other colours, turned, scaled and shifted a little, a quarter of each side hidden.

    >>> moved(jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    first, second, third = jax.random.split(key, 3)
    side = min(image.shape[:2])
    image = augment.colour_jitter(first, image, p=1.0)
    image = augment.affine(second, image, rotation=0.2, scale=(0.8, 1.2), shear=0.0, shift=side / 8)
    return augment.cutout(third, image, size=max(side // 4, 1))
