"""What generator-based data-free methods share: a generator makes images for a frozen teacher, and a student learns from them."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kdjax import losses
from kdjax.core import (
    Follower,
    Learner,
    Method,
    Net,
    check_count,
    check_option,
    ema,
    example_keys,
    learn,
    new_learner,
    pmean,
    weighted_sum,
    weights_at,
)
from kdjax.core.arrays import AxisName
from kdjax.core.node import Node, static
from kdjax.core.start import started
from kdjax.methods.data_free._checks import check_asked, check_classes, check_made


class DataFree(NamedTuple):
    """A student and a generator around a frozen teacher.

    Attributes:
      student: the State of the method that trains the student; it holds the teacher.
      generator: makes the images.
      average: the moving average of the generator; None where there is none.
      memory: what the generator's objective keeps from step to step: a bank of images, a centre; () where it keeps nothing.
      step: generator steps done.
    """

    student: Any
    generator: Learner
    average: Follower | None
    memory: Any
    step: jax.Array


class SyntheticBatch(Node):
    """What the objective of a generator, or of pixels, sees of the images it made.

    Attributes:
      images: `[B, H, W, C]` in [0, 1].
      labels: the classes `[B]` that were asked for; those that the teacher finds where none were.
      teacher: the teacher's taps of them, in evaluation mode.
      teacher_stats: the teacher's statistics.
      student: the student's taps, in evaluation mode.
      memory: what the last step left.
      key: for what is drawn, another one for each step.
      step: generator steps done, int32.
      axis_name: mapped axis that holds the rest of the batch, or None.
      made: the taps of the generator that made them; None where rounds make them.
    """

    images: jax.Array
    labels: jax.Array
    teacher: dict[str, jax.Array]
    teacher_stats: Any
    student: dict[str, jax.Array]
    memory: Any
    key: jax.Array
    step: jax.Array
    axis_name: AxisName = static(default=None)
    made: dict[str, jax.Array] | None = None


def data_free(
    student: Method,
    generator: Net | Mapping[str, Net],
    generator_tx: optax.GradientTransformation,
    objective: Callable[[SyntheticBatch], tuple[Mapping[str, Any], Any]],
    *,
    weights: Mapping[str, Any],
    latent: int,
    student_steps: int,
    images: Literal["fresh", "same", "judged"] = "fresh",
    statistics: Literal["batch", "running"] = "batch",
    classes: int | None = None,
    decay: float | None = None,
    warm_up: int = 0,
    memory: Callable[[jax.Array, SyntheticBatch], Any] | None = None,
    replay: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None,
    axis_name: AxisName = None,
) -> Method:
    """Builds a data-free method from the method of its student and the objective of its generator.

    One step: the generator descends once, teacher and student in evaluation mode and its own batch statistics in use; then the
    student takes `student_steps` steps of its method on newly made images, labelled with the classes asked for, or else with those
    that the teacher finds. A batch of this method holds no images, only `index` `[B]`, the global row numbers that key the latents.

    Args:
      student: a method that trains a network on images beside a teacher: `recipes.student`, or any of methods/offline.
      generator: latents `[B, latent]` to the tap `"image"`, in [0, 1]; or several by name, all of which see the latents and whose
        images are those of the batch, `[generators B, ...]` in their order.
      generator_tx: the generator's optimiser.
      objective: `seen -> ({name: term}, memory)`: what the generator minimises, and the memory for the next step, the same on all
        devices (`core.gather_replicated`).
      weights: factors of the terms by name, numbers or functions of the step; one that is the number 0 leaves its term out.
      latent: length of a latent vector, standard normal.
      student_steps: student steps for each generator step.
      images: what a student step sees: `"fresh"` latents each time, the `"same"` latents as the generator's step, or the very
        images that it was `"judged"` by, before its update.
      statistics: which the batch norm of the generator uses while it makes images for the student: those of the batch, or the
        running ones.
      classes: for a conditional generator, of `{"latent": [B, latent], "label": [B]}`: labels from 0, equally often in each batch.
      decay: of the moving average of a generator; the student then sees as many images of the average, of latents of their own, as
        of the generator, row by row in turn (column `"replayed"` of its batch); how far a step moves the images of both, for the
        student, is logged as `generator_shift` and `average_shift`. None: there is none.
      warm_up: first steps, in which the generator learns alone; the student's metrics are 0 there.
      memory: `(key, seen of shapes) -> ` what the first step finds; zeros stand for the numbers. None: nothing is kept.
      replay: `(memory, key, images) -> images` that a student step sees in the place of those made for it: some that are remembered
        beside or among them. None: it sees what is made.
      axis_name: mapped axis that holds the batch, or None.
    """
    check_count(student_steps=student_steps, latent=latent)
    check_option("warm_up", warm_up, lambda n: n >= 0, "a whole number of steps, 0 or more")
    net = generator if isinstance(generator, Net) else _together(generator)
    several = None if isinstance(generator, Net) else generator

    def draw(key, batch):
        """Inputs of the generator."""
        z = jax.vmap(lambda k: jax.random.normal(k, (latent,)))(example_keys(key, batch["index"]))
        return z if classes is None else {"latent": z, "label": balanced_labels(key, batch["index"], classes)}

    def make(params, stats, drawn, train=True):
        taps, stats = net.apply(params, stats, drawn, train=train)
        return taps["image"], stats

    def labels_of(held, drawn, images):
        if classes is None:
            return found_labels(student, held, images)
        return jnp.tile(drawn["label"], len(images) // len(drawn["label"]))

    def init(key, batch, given, **start):
        check_made(batch)
        a, b = jax.random.split(key)
        drawn = draw(key, batch)
        own = {name: start.pop(name) for name in several or ["generator"] if name in start}
        maker = _started(new_learner(a, net, generator_tx, drawn), own, several, generator_tx)
        check_asked(net, maker, latent, classes)
        image = jax.eval_shape(lambda m: make(m.params, m.stats, drawn)[0], maker)
        images = jnp.zeros(image.shape, image.dtype)
        seen = lesson(images, jnp.zeros(len(images), jnp.int32), batch["index"])
        average = None if decay is None else Follower(*jax.tree.map(jnp.copy, (maker.params, maker.stats)))
        state = DataFree(
            student.init(b, seen if decay is None else in_turn(seen, seen), given, **start), maker, average, (), jnp.int32(0)
        )
        if memory is None:
            return state
        return state._replace(memory=memory(jax.random.fold_in(key, 2), jax.eval_shape(lambda: judge(state, images, drawn, key))))

    def judge(state, images, drawn, key):
        """What the generator's objective sees."""
        labels = labels_of(state.student, drawn, images)
        seen = judged(student, state.student, images, labels, state.memory, key, state.step, axis_name)
        check_classes(classes, seen.teacher["logits"])
        return seen

    def step(state, batch, key):
        check_made(batch)
        *keys, drop = jax.random.split(key, student_steps + 2)
        first = draw(keys[0], batch)

        def loss(params, drawn):
            taps, stats = net.apply(params, state.generator.stats, drawn, train=True)
            terms, kept = objective(judge(state, taps["image"], drawn, key).replace(made=taps))
            used = {name: term for name, term in terms.items() if not is_zero(weights.get(name, 1.0))}
            value, metrics = weighted_sum(used, weights_at(weights, state.step))
            return value, ((stats, lax.stop_gradient(kept)), metrics)

        maker, made = learn(loss, state.generator, generator_tx, first, axis_name=axis_name)
        stats, kept = maker.stats
        maker, average = maker.replace(stats=stats), state.average
        if average is not None and decay is not None:
            average = Follower(*ema((average.params, average.stats), (maker.params, stats), decay))

        def seen_by_student(held, key):
            source = state.generator if images == "judged" else maker
            drawn = draw(key, batch) if images == "fresh" else first
            shown = make(source.params, source.stats, drawn, images == "judged" or statistics == "batch")[0]
            if replay:
                shown = replay(kept, jax.random.fold_in(key, 1), shown)
            new = lesson(shown, labels_of(held, drawn, shown), batch["index"])
            if average is None:
                return lax.stop_gradient(new)
            drawn = draw(jax.random.fold_in(key, 2), batch)
            shown = make(average.params, average.stats, drawn, statistics == "batch")[0]
            return lax.stop_gradient(in_turn(new, lesson(shown, labels_of(held, drawn, shown), batch["index"])))

        def student_step(held, now):
            key, drop = now
            return student.step(held, seen_by_student(held, key), drop)

        def learnt():
            return lax.scan(student_step, state.student, (jnp.stack(keys[1:]), jax.random.split(drop, student_steps)))

        if warm_up:
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(learnt)[1])
            held, learned = lax.cond(state.step < warm_up, lambda: (state.student, nothing), learnt)
        else:
            held, learned = learnt()
        metrics = {f"student_{k}": jnp.mean(v) for k, v in learned.items()} | {f"generator_{k}": v for k, v in made.items()}
        if average is not None:
            for name, old, new in (("generator", state.generator, maker), ("average", state.average, average)):
                metrics[f"{name}_shift"] = pmean(shift(state.student, old, new, first), axis_name)
        return DataFree(held, maker, average, kept, state.step + 1), metrics

    def shift(held, old, new, drawn):
        """How far a step moves images of the same latents, for the student: the divergence of its predictions, in nats."""
        seen = [student.predict(held, make(one.params, one.stats, drawn)[0]) for one in (old, new)]
        before, after = (next(iter(taps.values()))["logits"] for taps in seen)
        return jnp.mean(losses.jensen_shannon(after, before, temperature=1.0, clip=0.0, reverse=False))

    def predict(state, inputs):
        return student.predict(state.student, inputs)

    def weights_of(state):
        made = _named(state.generator, several)
        if state.average is not None:
            made["average_generator"] = state.average.params, state.average.stats
        return student.weights(state.student) | made

    return Method(init, step, predict, weights_of, needs=student.needs)


def _named(maker: Learner, several: Mapping[str, Net] | None) -> dict[str, tuple[Any, Any]]:
    """The weights of the generator, or of each of several."""
    if several:
        return {name: (maker.params[name], maker.stats[name]) for name in several}
    return {"generator": (maker.params, maker.stats)}


def _started(
    maker: Learner, start: Mapping[str, Any], several: Mapping[str, Net] | None, tx: optax.GradientTransformation
) -> Learner:
    """A generator, or several, with given weights by their names."""
    if not start:
        return maker
    found = started(_named(maker, several), start)
    params, stats = ({name: one[k] for name, one in found.items()} for k in (0, 1))
    if not several:
        params, stats = params["generator"], stats["generator"]
    return Learner(params, stats, tx.init(params))


def judged(
    student: Method,
    held: Any,
    images: jax.Array,
    labels: jax.Array,
    memory: Any,
    key: jax.Array,
    step: jax.Array,
    axis_name: AxisName,
) -> SyntheticBatch:
    """Images as teacher and student see them, both in evaluation mode.

    Args:
      student: a method of a student beside a `"teacher"`.
      held: its State.
      images: `[B, H, W, C]`.
      labels: as in `SyntheticBatch`.
      memory: as in `SyntheticBatch`.
      key: of the step.
      step: as in `SyntheticBatch`.
      axis_name: as in `SyntheticBatch`.
    """
    taps = student.predict(held, images)
    stats = student.weights(held)["teacher"][1]
    own = taps[next(iter(taps))]
    return SyntheticBatch(images, labels, taps["teacher"], stats, own, memory, jax.random.fold_in(key, 0), step, axis_name)


def lesson(images: jax.Array, labels: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
    """A batch for the student; of several generators, the numbers of the latents once for each."""
    return {"image": images, "label": labels, "index": jnp.tile(index, len(images) // len(index))}


def in_turn(new: dict[str, jax.Array], replayed: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The rows of two batches, one of each in turn; `"replayed"` `[2 B]` tells those of the second."""
    rows = {name: jnp.stack((x, replayed[name]), 1).reshape(-1, *x.shape[1:]) for name, x in new.items()}
    return rows | {"replayed": jnp.arange(len(rows["label"])) % 2 == 1}


def found_labels(student: Method, held: Any, images: jax.Array) -> jax.Array:
    """The classes `[B]` that the teacher finds in images."""
    return jnp.argmax(student.predict(held, lax.stop_gradient(images))["teacher"]["logits"], -1).astype(jnp.int32)


def balanced_labels(key: jax.Array, index: jax.Array, classes: int) -> jax.Array:
    """Labels `[B]` from 0, each as often as the others, that begin anywhere; the same on one device and on many."""
    return ((index + jax.random.randint(key, (), 0, classes)) % classes).astype(jnp.int32)


def is_zero(weight: Any) -> bool:
    """Whether a factor is the number 0, and no array."""
    return not isinstance(weight, jax.Array) and not callable(weight) and weight == 0


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
