"""Contrastive model inversion."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import InputError, Method, Net, batch_norms, check_option, gather_replicated, new_queue, push, unit
from kdjax.core.arrays import AxisName, Weight
from kdjax.core.collectives import take
from kdjax.methods import recipes
from kdjax.methods.data_free._rounds import Synthesis, rounds
from kdjax.methods.data_free._terms import batch_norm_term, behind
from kdjax.methods.data_free._views import shifted, zoomed
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective


def cmi(
    student: Net,
    teacher: Net,
    generator: Net,
    head: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    *,
    classes: int,
    one_hot: Weight = 1.0,
    batch_norm: Weight = 1.0,
    adversarial: Weight = 0.5,
    contrast: Weight = 0.8,
    contrast_temperature: float = 0.2,
    bank: int = 40960,
    cached: int = 4096,
    warm_up: int = 0,
    latent: int = 256,
    synthesis_steps: int = 200,
    student_steps: int = 400,
    pool: int = 51200,
    padding: int = 4,
    area: tuple[float, float] = (0.25, 1.0),
    temperature: float = 20.0,
    objective: Objective | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Each round inverts the teacher by a new generator, towards images unlike earlier ones; the student learns from all of them.

    Generator, latents and head together, in rounds that begin with a new generator: `one_hot CE(z_t, y) + batch_norm sum_l D_l -
    adversarial m KL(p_t || p_s) + contrast L`, on images seen as crops and mirror images; `D_l` the distance at the teacher's
    batch-norm layer l, `m` 1 where student and teacher name the same class, L the `losses.image_contrast` of parts of the images
    and of the whole ones: what the teacher's batch-norm layers see, averaged over positions, behind the head; against it stand the
    rows of this batch and `cached` rows of a bank of earlier images. A round ends with the images of the least loss. Student:
    `T^2 KL(p_t || p_s)` on crops and mirror images of the pool.

    The authors' best numbers come from two phases: images are made without the adversarial term, and the student learns only
    behind these rounds, from the pool that they have filled and from the images of the rounds to come. With batches of 256 that is
    `warm_up=195, one_hot=0.5, student_steps=2000`, 50,000 images and then 40 rounds, at a rate that falls to a tenth behind 25, 30
    and 35 of these. The default is the one-phase form. The head keeps its weights from round to round, its optimiser begins anew.

    Args:
      student: the net to train; it never sees a real image.
      teacher: the frozen net with batch norm, and the tap `"logits"`.
      generator: latents to images in [0, 1].
      head: vectors to the tap `"embedding"`: `models.mlp_head(d, 256, norm=False, out_bias=True)` in the paper.
      student_tx: the student's optimiser.
      generator_tx: the optimiser of generator, latents and head; it begins anew in each round.
      classes: of the teacher.
      one_hot: factor of the cross-entropy with the class asked for.
      batch_norm: factor of the batch-norm statistics term.
      adversarial: factor of the disagreement with the student.
      contrast: factor of the contrastive term; 0 leaves it out.
      contrast_temperature: of the contrastive term.
      bank: how many earlier images it remembers.
      cached: how many of them are looked at in a step.
      warm_up: first rounds in which the student does not learn, and is not looked at either.
      latent: length of a latent vector.
      synthesis_steps: steps that make images in a round.
      student_steps: student steps in a round.
      pool: how many images it holds.
      padding: of the crops.
      area: least and largest share of an image that its part has.
      temperature: T of the student's imitation.
      objective: what the student is asked for in place of the imitation: that of any offline method.
      axis_name: mapped axis that holds the batch, or None.

    Returns:
      A Method of batches of `"index"` `[B]` alone, the numbers of the rows that are made. Its networks are `"student"` and
      `"teacher"`; beside them stands the `"generator"`.

    Reference: Fang et al., Contrastive Model Inversion for Data-Free Knowledge Distillation, IJCAI 2021 (arXiv 2105.08584).
    """
    if not 1 <= cached <= bank:
        raise InputError(f"cached={cached} is not accepted: expected 1 to bank={bank}")
    check_option(
        "area", area, lambda a: len(a) == 2 and 0 < a[0] <= a[1] <= 1, "two shares of an image, above 0 and at most 1, in order"
    )
    whole, part = jax.vmap(shifted(padding)), jax.vmap(zoomed(area))

    def described():
        """The shape of a description of an image."""
        z = jnp.zeros((2, latent))
        image = generator.apply(*generator.init(jax.random.key(0), z), z, train=True)[0]["image"]
        params, stats = teacher.init(jax.random.key(0), image)
        return _description(teacher.apply(params, stats, image, train=False)[0], stats)

    def memory(key):
        if not contrast:
            return ()
        size = jax.eval_shape(described).shape[-1]
        params, stats = head.init(key, jnp.zeros((1, size)))
        return {"head": params, "head_stats": stats, "bank": new_queue(jnp.zeros((bank, 2 * size)))}

    def start(key, rows, memory):
        latents = jax.random.normal(jax.random.fold_in(key, 0), (rows, latent))
        params, stats = generator.init(jax.random.fold_in(key, 1), latents)
        return {"generator": params, "latent": latents} | ({"head": memory["head"]} if contrast else {}), stats

    def make(params, stats, index):
        taps, stats = generator.apply(params["generator"], stats, take(params["latent"], index), train=True)
        return taps["image"], stats

    def terms(draft, judge):
        seen = judge(whole(draft.keys, draft.images))
        student, teacher = seen.student["logits"], seen.teacher["logits"]
        found = {
            "one_hot": losses.cross_entropy(teacher, seen.labels),
            "batch_norm": batch_norm_term(seen, batch_norm),
            "adversarial": losses.decision_adversarial(student, teacher),
        }
        if not contrast:
            return found, ()
        apart = jax.vmap(lambda key: jax.random.fold_in(key, 1))(draft.keys)
        near = judge(part(apart, draft.images))
        here = jnp.concatenate([_description(one.teacher, one.teacher_stats) for one in (near, seen)], 1)
        earlier = draft.memory["bank"]
        # Of the rows that were pushed, as many as are asked for, each once.
        drawn = jax.random.uniform(jax.random.fold_in(draft.key, 2), (bank,)) + earlier.filled
        chosen = lax.top_k(drawn, cached)[1]
        both = jnp.split(jnp.concatenate([here, earlier.rows[chosen]]), 2, axis=1)
        embedded = [unit(head.apply(draft.params["head"], draft.memory["head_stats"], x, train=True)[0]["embedding"]) for x in both]
        found["contrast"] = losses.image_contrast(
            *embedded, temperature=contrast_temperature, current=len(here),
            where=jnp.concatenate([jnp.ones(len(here), bool), earlier.filled[chosen]]), axis_name=axis_name,
        )  # fmt: skip
        return found, gather_replicated(here, axis_name)

    def end(memory, best, params, kept, key):
        return memory | {"head": params["head"], "bank": push(memory["bank"], best.kept)} if contrast else memory

    def networks(state):
        return {"generator": (state.maker.params["generator"], state.maker.stats)}

    late = behind(warm_up * synthesis_steps, adversarial)
    weights = {"one_hot": one_hot, "batch_norm": batch_norm, "adversarial": late, "contrast": contrast}
    asked = objective or kd_objective(weight=1.0, temperature=temperature)
    return rounds(
        recipes.student(student, student_tx, asked, teacher=teacher, axis_name=axis_name),
        Synthesis(start, make, terms, memory=memory, end=end, networks=networks), generator_tx, weights=weights, classes=classes,
        synthesis_steps=synthesis_steps, student_steps=student_steps, warm_up=warm_up, pool=pool, augment=shifted(padding),
        axis_name=axis_name,
    )  # fmt: skip


def _description(taps, stats):
    """What the batch-norm layers of a teacher see, averaged over positions, `[B, D]`."""
    layers = [x.reshape(x.shape[0], -1, x.shape[-1]).mean(1) for x, _, _ in batch_norms(taps, stats)]
    if not layers:
        raise InputError("contrast above 0 is not accepted: this teacher has no batch-norm layers; contrast=0 leaves the term out")
    return jnp.concatenate(layers, 1)
