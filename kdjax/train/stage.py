"""A phase of an experiment, and what is left of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.augment import per_image
from kdjax.core import Frozen, InputError, Method
from kdjax.core.images import inputs_as_float, inputs_of
from kdjax.data import Sampler, Source
from kdjax.evaluate import MEASURES, Alarm, Measure, measure_of
from kdjax.train.start import Start
from kdjax.train.teacher_cache.spec import TeacherCache, blank_taps, check_teacher_cache


class Pace(NamedTuple):
    """When things happen, at absolute steps: so a resumed run compiles the same blocks.

    Attributes:
      block: steps in one compiled program, and between two log points.
      evaluate: steps between evaluations; a multiple of `block`.
      save: steps between checkpoints; a multiple of `evaluate`.
    """

    block: int
    evaluate: int
    save: int


class Stage(NamedTuple):
    """One method, run for a number of steps. Two-stage methods, teachers and generations are lists of stages.

    Attributes:
      method: what is run.
      steps: optimisation steps.
      batch: rows a step, over all devices; the last step of an epoch may have fewer (`Sampler.rest`).
      pace: log, evaluation and save points.
      nets: network name -> the specification `models.build` makes it from (`{"name", ...}`), for `kdjax.load`.
      source: rows to learn from; None for a data-free stage, whose batch holds only row numbers.
      augment: `(keys [B], batch) -> batch`.
      sampler: which rows a step sees; None: epochs over all rows of the source.
      view: `batch -> inputs`: what networks are evaluated on, any pytree, of rows as they are read; the images in floats, or
        the tokens of a set without images.
      evaluate: `(collect, split, final) -> {measure: [members]}`.
      score: the measure that the stage is judged by: results at the best step, points of a sweep, plots and tables follow it.
      measures: what it measures that is not in the table of measures, `evaluate.MEASURES`.
      alarms: what is told while it is trained, where a measure or a metric of the step is too low; the run goes on, but for
        alarms that stop it.
      given: `results of earlier stages -> {name: Frozen}`.
      warm_start: `(state, result, member) -> state`: a member starts from weights of the stage `warm_start_from`; in a sweep,
        member is the number of its seed.
      warm_start_from: name of a stage; or of several, whose results then come as a tuple.
      start: networks that start from weights of elsewhere; what `warm_start` brings comes after.
      refresh: `(collect, state, step, key) -> state` of one member, after `init` and every `refresh_every` steps and after the last
        one, before the State is evaluated and saved (k-means, prototypes, statistics of batch norm); host code is fine. `collect`
        is a `collect.Collect` of this member alone, whose split `"train"` holds the rows of the stage.
      refresh_every: a multiple of `pace.block`; 0 is never.
      members: how many are trained side by side.
      seeds: how many different seeds the members have: member i starts from seed + i modulo this; 0 is one each.
      hyper: swept values by name, `[members]` each, for a method made by `sweep`.
      choose: whether of the points of a sweep only the best is kept: that with the best mean score on validation images.
      intermediate: results are those of the last step, whatever the run selects: what is trained on the way to something else.
      optional: the run goes on without it, and without what is built on it, when it diverges: a row of a table.
      samples: `(state of one member, key) -> images [N, H, W, C]` to look at, or `[rows, columns, H, W, C]`; or None.
      frames: `(state of one member, key) -> images [N, H, W, C]` in [0, 1] of the same latents at every evaluation, which
        are looked at side by side, see `train.frames`; or None.
      teacher_cache: how the outputs of the teacher are computed once; batches then hold them, `{"teacher": {tap: [B, ...]}}`, and
        come in so many views. None: no outputs are kept, and every epoch draws anew.
      unmapped: the same method built for no mapped axis, where `method` is built for one: identity is traced from it.
      about: the name and the options of the method, JSON values by name, for records and cards. They count for nothing.
    """

    method: Method
    steps: int
    batch: int
    pace: Pace
    nets: Mapping[str, dict]
    source: Source | None
    evaluate: Callable[..., dict[str, np.ndarray]]
    score: str
    measures: tuple[Measure, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    augment: Callable = per_image()
    sampler: Sampler | None = None
    view: Callable[[dict[str, Any]], Any] = lambda batch: inputs_as_float(inputs_of(batch))
    given: Callable[[dict], dict[str, Frozen]] = lambda results: {}
    warm_start: Callable[[Any, Any, int], Any] | None = None
    warm_start_from: str | tuple[str, ...] = ""
    start: tuple[Start, ...] = ()
    refresh: Callable | None = None
    refresh_every: int = 0
    members: int = 1
    seeds: int = 0
    hyper: Mapping[str, Any] | None = None
    choose: bool = False
    intermediate: bool = False
    optional: bool = False
    samples: Callable | None = None
    frames: Callable | None = None
    teacher_cache: TeacherCache | None = None
    unmapped: Method | None = None
    about: Mapping[str, Any] = {}


def sources_of(stage: Stage) -> tuple[str, ...]:
    """The stages from whose weights a stage starts, by name."""
    names = stage.warm_start_from
    return names if isinstance(names, tuple) else (names,) if names else ()


class Result(NamedTuple):
    """What a finished stage leaves to later ones.

    Attributes:
      weights: `{network: {"params", "stats"}}`, every array with a leading axis of members.
      measures: final measures, `[members]` each.
      digest: sha256 of the weights.
      step: the step they were taken at.
      samples: images to look at, or None.
      frames: of evaluations, as `train.frames.read` gives them, or None.
      points: of a sweep that chose, each point with its mean on validation images, the chosen one first.
    """

    weights: dict[str, dict]
    measures: dict[str, list[float]]
    digest: str
    step: int
    samples: Any = None
    frames: Any = None
    points: tuple[dict, ...] = ()

    def frozen(self, network: str | None = None, member: int = 0) -> Frozen:
        """One member's network for a later stage; the first network if none is named."""
        name = network or next(iter(self.weights))
        one = jax.tree.map(lambda x: x[member], self.weights[name])
        return Frozen(one["params"], one["stats"], f"{self.digest}/{name}/{member}")


def blank_batch(stage: Stage) -> dict:
    """A batch of zeros, shaped like those that the stage's method sees."""
    rows = np.zeros(stage.batch, np.int32)
    if stage.source is None:
        return {"index": jnp.asarray(rows)}
    keys = jax.random.split(jax.random.key(0), stage.batch)
    shapes = jax.eval_shape(stage.augment, keys, stage.source.read(rows))
    if stage.teacher_cache:
        shapes["teacher"] = blank_taps(stage.teacher_cache, inputs_of(shapes))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def known_measures(stages: Iterable[Stage]) -> dict[str, Measure]:
    """The table of measures with those that stages bring."""
    return {**MEASURES, **{measure.name: measure for stage in stages for measure in stage.measures}}


def score_of(stage: Stage) -> Measure:
    """The Measure of a stage's score."""
    return measure_of(stage.score, known_measures([stage]))


def seeds_of(stage: Stage, seed: int) -> list[int]:
    """The seed of every member."""
    return [seed + i % (stage.seeds or stage.members) for i in range(stage.members)]


def check_stage(name: str, stage: Stage, given: Mapping[str, Frozen]) -> None:
    """Refuses a stage that cannot run as it says.

    Raises:
      InputError: one line that names what is wrong.
    """
    block, evaluate, save = stage.pace
    if min(stage.pace) < 1 or evaluate % block or save % evaluate:
        wanted = "block, evaluate and save of at least 1, each a multiple of the one before"
        raise InputError(f"stage {name!r}: pace={tuple(stage.pace)} is not accepted: expected {wanted}")
    if stage.refresh_every < 0 or stage.refresh_every % block:
        wanted = f"a multiple of pace.block={block}"
        raise InputError(f"stage {name!r}: refresh_every={stage.refresh_every} is not accepted: expected {wanted}")
    if stage.steps < 1 or stage.members < 1:
        raise InputError(f"stage {name!r}: steps={stage.steps}, members={stage.members} is not accepted: expected at least 1")
    if stage.teacher_cache:
        try:
            check_teacher_cache(stage.teacher_cache)
        except InputError as error:
            raise InputError(f"stage {name!r}, teacher_cache: {error}") from None
        if stage.source is None or "teacher" not in given:
            raise InputError(f"stage {name!r} is not accepted with a teacher_cache: it needs a source of images and a teacher")
    for measure in stage.measures:
        if measure.better not in ("higher", "lower"):
            wanted = "expected 'higher' or 'lower'"
            raise InputError(f"stage {name!r}: better={measure.better!r} of {measure.name} is not accepted: {wanted}")
    for number, values in (stage.hyper or {}).items():
        if len(values) != stage.members:
            raise InputError(f"stage {name!r}: {len(values)} values of {number} for {stage.members} members: expected one each")
    if missing := [n for n in stage.method.needs if n not in given]:
        raise InputError(f"stage {name!r} needs {', '.join(missing)}; it was given {', '.join(given) or 'nothing'}")
    if unnamed := [n for n, value in given.items() if not value.source]:
        raise InputError(f"stage {name!r}: {', '.join(unnamed)} is given without a source: expected a digest of the weights")
