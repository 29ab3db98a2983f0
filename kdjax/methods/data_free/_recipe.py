"""What generator-based data-free methods share: images are made up for a frozen teacher, and a student learns from them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax.core import Frozen, Learner, Method, Net, check_option, example_keys, learn, new_learner, read_by_name, weighted_sum


class DataFree(NamedTuple):
    """A student and a generator around a frozen teacher."""

    student: Learner
    generator: Learner
    teacher: Frozen
    step: jax.Array


def data_free(
    student: Net,
    teacher: Net,
    generator: Net,
    student_tx: optax.GradientTransformation,
    generator_tx: optax.GradientTransformation,
    invent: Callable[[dict, Any, dict, jax.Array], Mapping[str, Any]],
    distil: Callable[[dict, dict], Mapping[str, Any]],
    *,
    weights: Mapping[str, Any],
    latent: int,
    student_steps: int,
    fresh: bool = True,
    axis_name: str | None = None,
) -> Method:
    """Builds a data-free method from the generator's objective and the student's.

    One step: the generator descends once, teacher and student in evaluation mode and its own batch statistics in use; then the
    student takes `student_steps` steps on newly generated images. A batch holds no images, only `index` `[B]`, the global row
    numbers that key the latents.

    Args:
      student: the net to train.
      teacher: the frozen net.
      generator: latents `[B, latent]` to the tap `"image"`, in [0, 1].
      student_tx: the student's optimiser.
      generator_tx: the generator's optimiser.
      invent: `(teacher taps, teacher stats, student taps, images) -> {name: term}`, what the generator minimises.
      distil: `(student taps, teacher taps) -> {name: term}`, what the student minimises.
      weights: factors of the generator's terms by name; one that is the number 0 leaves its term out.
      latent: length of a latent vector, standard normal.
      student_steps: student steps for each generator step.
      fresh: each student step draws new images; False trains it on those the generator has just been judged by.
      axis_name: mapped axis that holds the batch, or None.
    """
    check_option("student_steps", student_steps, lambda n: n >= 1, "a whole number of at least 1")
    check_option("latent", latent, lambda n: n >= 1, "a whole number of at least 1")

    def latents(key, batch):
        return jax.vmap(lambda k: jax.random.normal(k, (latent,)))(example_keys(key, batch["index"]))

    def generate(learner, params, z):
        taps, stats = generator.apply(params, learner.stats, z, train=True)
        return taps["image"], stats

    def init(key, batch, given):
        a, b = jax.random.split(key)
        z = jnp.zeros((batch["index"].shape[0], latent))
        maker = new_learner(a, generator, generator_tx, z)
        image = jax.eval_shape(lambda m: generate(m, m.params, z)[0], maker)
        learner = new_learner(b, student, student_tx, jnp.zeros(image.shape, image.dtype))
        return DataFree(learner, maker, given["teacher"], jnp.int32(0))

    def step(state, batch, key):
        *keys, drop = jax.random.split(key, student_steps + 2)

        def ask_teacher(images):
            return teacher.apply(state.teacher.params, state.teacher.stats, images, train=False)[0]

        def invention(params, z):
            images, stats = generate(state.generator, params, z)
            taps_s, _ = student.apply(state.student.params, state.student.stats, images, train=False)
            terms = invent(ask_teacher(images), state.teacher.stats, taps_s, images)
            used = {name: term for name, term in terms.items() if not _is_zero(weights.get(name, 1.0))}
            value, metrics = weighted_sum(used, weights)
            return value, (stats, metrics)

        first = latents(keys[0], batch)
        judged = lax.stop_gradient(generate(state.generator, state.generator.params, first)[0]) if not fresh else None
        maker, made = learn(invention, state.generator, generator_tx, first, axis_name=axis_name)

        def student_step(learner, now):
            key, drop = now
            images = generate(maker, maker.params, latents(key, batch))[0] if judged is None else judged

            def imitation(params, images):
                taps, stats = student.apply(params, learner.stats, images, train=True, key=drop)
                value, metrics = weighted_sum(distil(taps, ask_teacher(images)), {})
                return value, (stats, metrics)

            return learn(imitation, learner, student_tx, lax.stop_gradient(images), axis_name=axis_name)

        learner, learned = lax.scan(student_step, state.student, (jnp.stack(keys[1:]), jax.random.split(drop, student_steps)))
        metrics = {f"student_{k}": jnp.mean(v) for k, v in learned.items()} | {f"generator_{k}": v for k, v in made.items()}
        return DataFree(learner, maker, state.teacher, state.step + 1), metrics

    predict, weights_of = read_by_name(student=student, teacher=teacher)

    def weights_of_all(state):
        return weights_of(state) | {"generator": (state.generator.params, state.generator.stats)}

    return Method(init, step, predict, weights_of_all, needs=("teacher",))


def _is_zero(weight: Any) -> bool:
    return not isinstance(weight, jax.Array) and weight == 0
