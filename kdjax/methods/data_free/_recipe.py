"""What generator-based data-free methods share: images are made up for a frozen teacher, and a student learns from them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from kdjax.core import (
    Frozen,
    Learner,
    Method,
    Net,
    check_count,
    example_keys,
    learn,
    new_learner,
    read_by_name,
    weighted_sum,
    weights_at,
)


class DataFree(NamedTuple):
    """A student and a generator around a frozen teacher.

    Attributes:
      student: what is shipped.
      generator: makes the images.
      teacher: frozen.
      memory: what the generator's objective keeps from step to step: a bank of images, a centre; () where it keeps nothing.
      step: generator steps done.
    """

    student: Learner
    generator: Learner
    teacher: Frozen
    memory: Any
    step: jax.Array


class Imagined(struct.PyTreeNode):
    """What an objective sees of made-up images.

    Attributes:
      images: `[B, H, W, C]`.
      teacher: the teacher's taps of them, in evaluation mode.
      teacher_stats: the teacher's statistics.
      student: the student's taps: in evaluation mode where the generator learns, in training mode where the student does.
      memory: what the last step left.
      key: for what is drawn, another one for each step.
      step: generator steps done, int32.
      axis_name: mapped axis that holds the rest of the batch, or None.
    """

    images: jax.Array
    teacher: dict[str, jax.Array]
    teacher_stats: Any
    student: dict[str, jax.Array]
    memory: Any
    key: jax.Array
    step: jax.Array
    axis_name: str | None = struct.field(pytree_node=False, default=None)


def data_free(
    student: Net,
    teacher: Net,
    generator: Net | Mapping[str, Net],
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    invent: Callable[[Imagined], tuple[Mapping[str, Any], Any]],
    distil: Callable[[Imagined], Mapping[str, Any]],
    *,
    weights: Mapping[str, Any],
    latent: int,
    student_steps: int,
    fresh: bool = True,
    memory: Callable[[jax.Array, Imagined], Any] | None = None,
    replay: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None,
    axis_name: str | None = None,
) -> Method:
    """Builds a data-free method from the generator's objective and the student's.

    One step: the generator descends once, teacher and student in evaluation mode and its own batch statistics in use; then the
    student takes `student_steps` steps on newly generated images. A batch holds no images, only `index` `[B]`, the global row
    numbers that key the latents.

    Args:
      student: the net to train.
      teacher: the frozen net.
      generator: latents `[B, latent]` to the tap `"image"`, in [0, 1]; or several by name, all of which see the latents and whose
        images are those of the batch, `[generators B, ...]` in their order.
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      invent: `seen -> ({name: term}, memory)`: what the generator minimises, and the memory for the next step, the same on all
        devices (`core.gather_replicated`).
      distil: `seen -> {name: term}`, what the student minimises; it sees the new memory.
      weights: factors of the terms by name, numbers or functions of the step; one that is the number 0 leaves its term out.
      latent: length of a latent vector, standard normal.
      student_steps: student steps for each generator step.
      fresh: each student step draws new images; False trains it on those the generator has just been judged by.
      memory: `(key, seen of shapes) -> ` what the first step finds; zeros stand for the numbers. None: nothing is kept.
      replay: `(memory, key, images) -> images` that a student step sees in the place of those made for it: some that are remembered
        beside or among them. None: it sees what is made.
      axis_name: mapped axis that holds the batch, or None.
    """
    check_count(student_steps=student_steps, latent=latent)

    maker_net = generator if isinstance(generator, Net) else _together(generator)
    several = None if isinstance(generator, Net) else generator

    def latents(key, batch):
        return jax.vmap(lambda k: jax.random.normal(k, (latent,)))(example_keys(key, batch["index"]))

    def generate(learner, params, z):
        taps, stats = maker_net.apply(params, learner.stats, z, train=True)
        return taps["image"], stats

    def init(key, batch, given):
        a, b = jax.random.split(key)
        z = jnp.zeros((batch["index"].shape[0], latent))
        maker = new_learner(a, maker_net, generator_tx, z)
        image = jax.eval_shape(lambda m: generate(m, m.params, z)[0], maker)
        images = jnp.zeros(image.shape, image.dtype)
        state = DataFree(new_learner(b, student, student_tx, images), maker, given["teacher"], (), jnp.int32(0))
        if memory is None:
            return state
        return state._replace(memory=memory(jax.random.fold_in(key, 2), jax.eval_shape(lambda: judge(state, images, key))))

    def ask_teacher(state, images):
        return teacher.apply(state.teacher.params, state.teacher.stats, images, train=False)[0]

    def judge(state, images, key):
        """What the generator's objective sees."""
        taps, _ = student.apply(state.student.params, state.student.stats, images, train=False)
        held = ask_teacher(state, images), state.teacher.stats, taps, state.memory
        return Imagined(images, *held, jax.random.fold_in(key, 0), state.step, axis_name)

    def step(state, batch, key):
        *keys, drop = jax.random.split(key, student_steps + 2)

        def invention(params, z):
            images, stats = generate(state.generator, params, z)
            terms, kept = invent(judge(state, images, key))
            used = {name: term for name, term in terms.items() if not _is_zero(weights.get(name, 1.0))}
            value, metrics = weighted_sum(used, weights_at(weights, state.step))
            return value, ((stats, lax.stop_gradient(kept)), metrics)

        first = latents(keys[0], batch)
        judged = lax.stop_gradient(generate(state.generator, state.generator.params, first)[0]) if not fresh else None
        maker, made = learn(invention, state.generator, generator_tx, first, axis_name=axis_name)
        stats, kept = maker.stats
        maker = maker.replace(stats=stats)

        def student_step(learner, now):
            key, drop = now
            images = generate(maker, maker.params, latents(key, batch))[0] if judged is None else judged
            if replay:
                images = replay(kept, jax.random.fold_in(key, 1), images)

            def imitation(params, images):
                taps, stats = student.apply(params, learner.stats, images, train=True, key=drop)
                held = ask_teacher(state, images), state.teacher.stats, taps, kept
                seen = Imagined(images, *held, jax.random.fold_in(drop, 0), state.step, axis_name)
                value, metrics = weighted_sum(distil(seen), weights_at(weights, state.step))
                return value, (stats, metrics)

            return learn(imitation, learner, student_tx, lax.stop_gradient(images), axis_name=axis_name)

        learner, learned = lax.scan(student_step, state.student, (jnp.stack(keys[1:]), jax.random.split(drop, student_steps)))
        metrics = {f"student_{k}": jnp.mean(v) for k, v in learned.items()} | {f"generator_{k}": v for k, v in made.items()}
        return DataFree(learner, maker, state.teacher, kept, state.step + 1), metrics

    predict, weights_of = read_by_name(student=student, teacher=teacher)

    def weights_of_all(state):
        params, stats = state.generator.params, state.generator.stats
        made = {name: (params[name], stats[name]) for name in several} if several else {"generator": (params, stats)}
        return weights_of(state) | made

    return Method(init, step, predict, weights_of_all, needs=("teacher",))


def _together(generators: Mapping[str, Net]) -> Net:
    """Several generators as one, of the same latents, one's images behind the other's."""

    def init(key, z):
        made = {name: net.init(jax.random.fold_in(key, number), z) for number, (name, net) in enumerate(generators.items())}
        return {name: params for name, (params, _) in made.items()}, {name: stats for name, (_, stats) in made.items()}

    def apply(params, stats, z, *, train, key=None):
        made = {name: net.apply(params[name], stats[name], z, train=train, key=key) for name, net in generators.items()}
        images = jnp.concatenate([taps["image"] for taps, _ in made.values()])
        return {"image": images}, {name: new for name, (_, new) in made.items()}

    return Net(init, apply)


def _is_zero(weight: Any) -> bool:
    return not isinstance(weight, jax.Array) and weight == 0
