"""Fast data-free distillation by a generator that learns to be trained."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.core import InputError, Learner, Method, Net, apply_gradients, batch_norms, by_part, check_optimiser, check_option
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.collectives import take
from kdjax.methods import recipes
from kdjax.methods.data_free._rounds import Synthesis, rounds
from kdjax.methods.data_free._terms import behind, check_batch_norm
from kdjax.methods.data_free._views import shifted
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective

REPTILE = 67.0  # the authors' factor of the difference


def fast_dfkd(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    latent_tx: optax.GradientTransformation,
    meta_tx: optax.GradientTransformation,
    *,
    classes: int,
    one_hot: Weight = 0.4,
    batch_norm: Weight = 10.0,
    adversarial: Weight = 1.1,
    average: float = 0.9,
    meta: Literal["fomaml", "reptile", "none"] = "fomaml",
    reset: int = 140,
    warm_up: int = 20,
    latent: int = 256,
    synthesis_steps: int = 5,
    student_steps: int = 400,
    pool: int = 51200,
    padding: int = 4,
    temperature: float = 20.0,
    objective: Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """A generator is kept from round to round, and moves to where few steps of a copy of it lead to good images.

    A round: a copy of the generator and new latents descend `one_hot CE(z_t, y) + batch_norm sum_l D_l - adversarial m KL(p_t ||
    p_s)` for a few steps, the last term behind the warm-up alone; `D_l` is the distance at the teacher's batch-norm layer l of a
    moving average of the statistics, which moves once a round, `m` 1 where student and teacher name the same class. The images of
    the least loss go to the pool. Then the generator takes one step of `meta_tx`: by the sum of the gradients of the copy
    (`"fomaml"`), or by 67 times the way from the copy to it (`"reptile"`). Behind round `reset` its first layers begin anew.
    Student: `T^2 KL(p_t || p_s)` on crops and mirror images of the pool; in the warm-up it does not learn.

    The defaults are those for wide residual nets; ResNet-34 has `one_hot=0.5, adversarial=1.33`, VGG-11 0.5 and 1. With 2, 5, 10
    steps a round the authors' Adam has 5e-3, 3e-3, 2e-3 for the copy and 0.015, 0.01, 0.01 for the latents, both at (0.5, 0.999);
    the rate of `meta_tx` is that of the copy times the steps.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net, with the tap `"logits"`, and batch norm where `batch_norm` is not 0.
      generator: latents to images in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the optimiser of the copy; it begins anew in each round.
      latent_tx: that of the latents; likewise.
      meta_tx: that of the generator.
      classes: of the teacher.
      one_hot: factor of the cross-entropy with the class asked for.
      batch_norm: factor of the batch-norm statistics term.
      adversarial: factor of the disagreement with the student.
      average: momentum of the average of the statistics; 0: those of the batch alone.
      meta: how the generator follows its copy; `"none"`: not at all.
      reset: behind how many rounds its linear layer and first batch norm begin anew; 0: never.
      warm_up: first rounds in which the student does not learn.
      latent: length of a latent vector.
      synthesis_steps: steps of the copy in a round.
      student_steps: student steps in a round.
      pool: how many images it holds.
      padding: of the crops that teacher and student see.
      temperature: T of the student's imitation.
      objective: what the student is asked for in place of the imitation: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Fang et al., Up to 100x Faster Data-Free Knowledge Distillation, AAAI 2022 (arXiv 2112.06253).
    """
    check_optimiser(meta_tx)
    check_option("meta", meta, lambda m: m in ("fomaml", "reptile", "none"), "'fomaml', 'reptile' or 'none'")
    check_option("reset", reset, lambda n: n >= 0, "a whole number of rounds, 0 or more")
    whole = jax.vmap(shifted(padding))

    def layers_of(key):
        z = jnp.zeros((2, latent))
        image = generator.apply(*generator.init(key, z), z, train=True)[0]["image"]
        params, stats = teacher.init(key, image)
        return [layer[1:] for layer in batch_norms(teacher.apply(params, stats, image, train=False)[0], stats)]

    def memory(key):
        params, stats = generator.init(key, jnp.zeros((2, latent)))
        if reset and not (isinstance(params, Mapping) and {*RESET} <= {*params}):
            raise InputError(
                f"reset={reset} is not accepted: this generator has no layers {' and '.join(RESET)}; 0 leaves it as it is"
            )
        blank = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)  # noqa: E731
        learner = Learner(params, stats, meta_tx.init(params))
        return {
            "meta": learner,
            "gradient": blank(params),
            "statistics": blank(jax.eval_shape(layers_of, key)),
            "rounds": jnp.int32(0),
        }

    def start(key, rows, memory):
        params = {"generator": memory["meta"].params, "latent": jax.random.normal(key, (rows, latent))}
        return params, memory["meta"].stats

    def make(params, stats, index):
        taps, stats = generator.apply(params["generator"], stats, take(params["latent"], index), train=True)
        return taps["image"], stats

    def terms(draft, judge):
        seen = judge(whole(draft.keys, draft.images))
        layers = check_batch_norm(seen, batch_norm)
        momentum = jnp.where(draft.memory["rounds"] > 0, average, 0.0)
        found = [
            losses.averaged_batch_norm_statistics(*layer, old, momentum=momentum, axis_name=axis_name)
            for layer, old in zip(layers, draft.memory["statistics"], strict=True)
        ]
        return {
            "one_hot": losses.cross_entropy(seen.teacher["logits"], seen.labels),
            "batch_norm": sum((value for value, _ in found), jnp.zeros(())),
            "adversarial": losses.decision_adversarial(seen.student["logits"], seen.teacher["logits"]),
        }, [statistics for _, statistics in found]

    def follow(memory, gradient):
        return memory | {"gradient": jax.tree.map(jnp.add, memory["gradient"], gradient["generator"])}

    def end(memory, best, params, kept, key):
        learner = memory["meta"]
        if meta != "none":
            away = jax.tree.map(lambda a, b: REPTILE * (a - b), learner.params, params["generator"])
            learner = apply_gradients(memory["gradient"] if meta == "fomaml" else away, learner, meta_tx)
        if reset:
            fresh, _ = generator.init(key, jnp.zeros((2, latent)))
            now = memory["rounds"] + 1 == reset
            again = {n: jax.tree.map(lambda a, b: jnp.where(now, a, b), fresh[n], learner.params[n]) for n in RESET}
            learner = learner.replace(params={**learner.params, **again})
        gradient = jax.tree.map(jnp.zeros_like, memory["gradient"])
        return {"meta": learner, "gradient": gradient, "statistics": kept, "rounds": memory["rounds"] + 1}

    def networks(state):
        return {"generator": (state.memory["meta"].params, state.memory["meta"].stats)}

    weights = {"one_hot": one_hot, "batch_norm": batch_norm, "adversarial": behind(warm_up * synthesis_steps, adversarial)}
    asked = objective or kd_objective(weight=1.0, temperature=temperature)
    return rounds(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name),
        Synthesis(start, make, terms, memory=memory, follow=follow, end=end, networks=networks),
        by_part(generator_tx, latent=latent_tx), weights=weights, classes=classes, synthesis_steps=synthesis_steps,
        student_steps=student_steps, warm_up=warm_up, pool=pool, augment=shifted(padding), axis_name=axis_name,
    )  # fmt: skip


RESET = ("linear", "bn0")  # the first layers of `models.generator`
