"""What data-free methods share that make images in rounds: a round ends with images in a pool, and the student learns from it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax.core import (
    InputError,
    Learner,
    Method,
    Queue,
    apply_gradients,
    check_count,
    check_optimiser,
    check_option,
    example_keys,
    gather_replicated,
    mean_grad,
    new_queue,
    push,
    weighted_sum,
    weights_at,
)
from kdjax.core.arrays import AxisName
from kdjax.core.collectives import take
from kdjax.methods.data_free._checks import check_classes, check_made
from kdjax.methods.data_free._generator import SyntheticBatch, balanced_labels, found_labels, is_zero, judged, lesson

Judge = Callable[[jax.Array], SyntheticBatch]


class Draft(NamedTuple):
    """Images of a step, before anyone has judged them.

    Attributes:
      images: `[B, H, W, C]` in [0, 1].
      index: their global row numbers `[B]`.
      params: what they were made from.
      memory: what earlier rounds left.
      key: of the step.
    """

    images: jax.Array
    index: jax.Array
    params: Any
    memory: Any
    key: jax.Array

    @property
    def keys(self) -> jax.Array:
        """Of the rows."""
        return example_keys(self.key, self.index)


class Candidate(NamedTuple):
    """The images of a round with the least loss so far.

    Attributes:
      image: `[N, H, W, C]`, those of all devices.
      kept: what the objective keeps of them.
      loss: of them.
    """

    image: jax.Array
    kept: Any
    loss: jax.Array


class Rounds(NamedTuple):
    """A student, and the round in which images are made for it.

    Attributes:
      student: the State of the method that trains the student; it holds the teacher.
      maker: what is optimised in this round: pixels; or latents, a generator.
      labels: the classes `[N]` asked for in this round.
      best: its best images.
      pool: of images, uint8.
      memory: what lasts from round to round.
      metrics: the latest of both phases.
      step: steps of both phases.
    """

    student: Any
    maker: Learner
    labels: jax.Array
    best: Candidate
    pool: Queue
    memory: Any
    metrics: dict[str, jax.Array]
    step: jax.Array


class Synthesis(NamedTuple):
    """How a round makes images. `N` rows are those of all devices, `B` those of this one.

    Attributes:
      start: `(key, N, memory) -> (params, stats)`, with which a round begins.
      make: `(params, stats, index [B]) -> (images [B, H, W, C] in [0, 1], stats)`.
      objective: `(draft, judge) -> ({name: term}, kept)`. `judge(images)` gives what teacher and student say of images, those of
        the draft or what is seen of them; what is kept is the same on all devices (`core.gather_replicated`).
      memory: `key -> ` what lasts from round to round, at first.
      project: `params -> params` behind each step, as pixels that are held in their range.
      follow: `(memory, gradient) -> memory` behind each step.
      end: `(memory, best, params, kept of the last step, key) -> memory` behind the last step of a round.
      networks: `state -> {name: (params, stats)}`.
    """

    start: Callable[..., tuple[Any, Any]]
    make: Callable[..., tuple[jax.Array, Any]]
    objective: Callable[..., tuple[Mapping[str, Any], Any]]
    memory: Callable[[jax.Array], Any] = lambda key: ()
    project: Callable[[Any], Any] = lambda params: params
    follow: Callable[[Any, Any], Any] = lambda memory, gradient: memory
    end: Callable[..., Any] = lambda memory, best, params, kept, key: memory
    networks: Callable[[Rounds], dict[str, tuple[Any, Any]]] = lambda state: {}


def rounds(
    student: Method,
    synthesis: Synthesis,
    tx: optax.GradientTransformation,
    *,
    weights: Mapping[str, Any],
    classes: int,
    synthesis_steps: int,
    student_steps: int,
    warm_up: int = 0,
    pool: int,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Builds a data-free method that makes images in rounds.

    A round is `synthesis_steps` steps of `tx`, behind which its best images, those with the least loss as they were before the
    step, go into the pool; then `student_steps` steps of the student on images of the pool. One step of the method is one of
    either. Images are asked for by labels, every class equally often. A batch holds `index` `[B]` alone, the global row numbers.

    Args:
      student: a method that trains a network on images beside a teacher; their labels are those that the teacher finds.
      synthesis: how images are made.
      tx: of what makes them; it begins anew in each round.
      weights: factors of the terms by name, numbers or functions of the step; one that is the number 0 leaves its term out.
      classes: of the teacher.
      synthesis_steps: steps that make images, in each round.
      student_steps: steps of the student behind them.
      warm_up: first rounds in which the student does not learn.
      pool: how many images it holds; the oldest give way.
      augment: `(key, image) -> image` of what the student sees; None: as it is.
      axis_name: mapped axis that holds the batch, or None.
    """
    check_optimiser(tx)
    check_count(synthesis_steps=synthesis_steps, student_steps=student_steps, classes=classes, pool=pool)
    check_option("warm_up", warm_up, lambda n: n >= 0, "a whole number of rounds, 0 or more")
    warm = warm_up * synthesis_steps

    def done_of(step):
        """How many steps of its round are done."""
        return jnp.where(step < warm, step % synthesis_steps, (step - warm) % (synthesis_steps + student_steps))

    def begin(key, rows, memory):
        params, stats = synthesis.start(jax.random.fold_in(key, 0), rows, memory)
        labels = balanced_labels(jax.random.fold_in(key, 1), jnp.arange(rows), classes)
        return Learner(params, stats, tx.init(params)), labels

    def init(key, batch, given, **start):
        check_made(batch)
        rows = len(batch["index"])
        if pool < rows:
            raise InputError(f"pool={pool} is not accepted: it must hold the {rows} images of a round")
        keys = jax.random.split(key, 3)
        memory = synthesis.memory(keys[0])
        maker, labels = begin(keys[1], rows, memory)
        image = jax.eval_shape(lambda m: synthesis.make(m.params, m.stats, batch["index"])[0], maker)
        images = jnp.zeros(image.shape, image.dtype)
        held = student.init(keys[2], lesson(images, labels, batch["index"]), given, **start)
        kept = jax.eval_shape(lambda m: grade(held, m.params, m.stats, labels, memory, batch, key, jnp.int32(0))[1][0][1], maker)
        best = Candidate(images, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), kept), jnp.float32(jnp.inf))
        images = new_queue(jnp.zeros((pool, *image.shape[1:]), jnp.uint8))
        state = Rounds(held, maker, labels, best, images, memory, {}, jnp.int32(0))
        phases = [jax.eval_shape(phase, state, batch, key)[1] for phase in (synthesise, imitate)]
        return state._replace(metrics={name: jnp.zeros(x.shape, x.dtype) for found in phases for name, x in found.items()})

    def grade(held, params, stats, labels, memory, batch, key, step):
        """The loss of what makes images, `(loss, ((statistics, kept, images of all devices), metrics))`."""
        asked = take(labels, batch["index"])

        def judge(images):
            seen = judged(student, held, images, asked, memory, key, step, axis_name)
            check_classes(classes, seen.teacher["logits"])
            return seen

        images, stats = synthesis.make(params, stats, batch["index"])
        terms, kept = synthesis.objective(Draft(images, batch["index"], params, memory, key), judge)
        used = {name: term for name, term in terms.items() if not is_zero(weights.get(name, 1.0))}
        value, metrics = weighted_sum(used, weights_at(weights, step))
        return value, lax.stop_gradient(((stats, kept, gather_replicated(images, axis_name)), metrics))

    def synthesise(state, batch, key):
        done = done_of(state.step)
        rows = len(state.labels)
        fresh = lambda: begin(jax.random.fold_in(key, 0), rows, state.memory)  # noqa: E731
        maker, labels = lax.cond(done == 0, fresh, lambda: (state.maker, state.labels))

        def loss(params, batch):
            return grade(state.student, params, maker.stats, labels, state.memory, batch, jax.random.fold_in(key, 1), state.step)

        (value, ((stats, kept, images), metrics)), gradient = mean_grad(loss, maker.params, batch, axis_name=axis_name)
        better = (done == 0) | (value < state.best.loss)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), Candidate(images, kept, value), state.best)
        maker = apply_gradients(gradient, maker, tx).replace(stats=stats)
        maker = maker.replace(params=synthesis.project(maker.params))
        memory = synthesis.follow(state.memory, gradient)

        def end():
            pixels = jnp.round(255 * jnp.clip(best.image, 0.0, 1.0)).astype(jnp.uint8)
            return push(state.pool, pixels), synthesis.end(memory, best, maker.params, kept, jax.random.fold_in(key, 2))

        images, memory = lax.cond(done == synthesis_steps - 1, end, lambda: (state.pool, memory))
        found = {f"synthesis_{name}": x for name, x in {**metrics, "loss": value}.items()}
        return state._replace(maker=maker, labels=labels, best=best, pool=images, memory=memory), found

    def imitate(state, batch, key):
        filled = jnp.minimum(state.pool.pushed, pool)
        keys = example_keys(key, batch["index"])
        chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, filled))(keys)
        images = take(state.pool.rows, chosen).astype(jnp.float32) / 255
        if augment:
            images = jax.vmap(augment)(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys), images)
        seen = lesson(images, found_labels(student, state.student, images), batch["index"])
        held, metrics = student.step(state.student, seen, jax.random.fold_in(key, 2))
        return state._replace(student=held), {f"student_{name}": x for name, x in metrics.items()}

    def step(state, batch, key):
        check_made(batch)

        def phase(run):
            def of(state):
                new, metrics = run(state, {"index": batch["index"]}, key)
                return new._replace(metrics={**state.metrics, **metrics})

            return of

        done = done_of(state.step)
        new = lax.cond(done < synthesis_steps, phase(synthesise), phase(imitate), state)
        return new._replace(step=state.step + 1), new.metrics

    def predict(state, inputs):
        return student.predict(state.student, inputs)

    def weights_of(state):
        return student.weights(state.student) | synthesis.networks(state)

    return Method(init, step, predict, weights_of, needs=student.needs)
