"""The plan of `pursuhint`: hint points are chosen once the teacher's weights are there."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.core import Tracer

from kdjax import data, evaluate, models
from kdjax.core import InputError, Method, check_option, pick
from kdjax.evaluate.hint_points import UPDATES
from kdjax.evaluate.teacher_layers import METRICS
from kdjax.experiment.student import StudentContext
from kdjax.train import Stage

BATCH = 250  # images a pass


def at_hint_points(
    c: StudentContext, *, metric: str = "r2_cca", images: int = 10_000, update: str = "mean_index"
) -> dict[str, Stage]:
    """One stage: the ends of the student's stages learn from as many of the teacher's blocks.

    `layers` of the config names the pairs, as after a look at the output of `launch/analyse.py`; left empty, the teacher's are the
    centres of clusters, found when the stage begins: by then a teacher of the same run is trained.

    Args:
      c: what the stage is made from.
      metric: of the likeness of two layers, as in `evaluate.choose_hint_points`, and so is the last one.
      images: how many of the training images it is measured on, evenly spaced.
      update: of the centres.
    """
    pick("metric", metric, METRICS)
    pick("update", update, UPDATES)
    check_option("images", images, lambda n: n >= 2, "a number of images, 2 or more")
    layers, teacher = list(c.settings["layers"]), c.teacher
    ends = models.stage_names(c.taps(c.student))
    blocks = evaluate.candidate_layers(list(c.taps(teacher)))
    if not layers and not 1 <= len(ends) <= len(blocks):
        raise InputError(
            f"layers=() is not accepted: the student has {len(ends)} stages to hint, the teacher {len(blocks)} layers "
            "to choose from; give the pairs, 'stage1=stage1_block3', ..."
        )
    found = {"layers": layers}

    def make(c: StudentContext) -> Method:
        def now() -> Method:
            # Before the choice, the first blocks stand in: a rehearsal has shapes alone.
            pairs = found["layers"] or _paired(ends, blocks)
            return c.entry.method(c.student, c.teacher, c.tx, **{**c.options, "layers": pairs})

        return Method(
            init=lambda *args: now().init(*args),
            step=lambda *args: now().step(*args),
            predict=lambda *args: now().predict(*args),
            weights=lambda *args: now().weights(*args),
            needs=("teacher",),
        )

    def given(results):
        weights = c.teaching.given(results)
        rehearsed = isinstance(jnp.zeros(()), Tracer)
        if not found["layers"] and not rehearsed:
            frozen, seen = weights["teacher"], _images(c.dataset.train, images, stages[c.name].view)
            chosen = evaluate.choose_hint_points(
                teacher, frozen.params, frozen.stats, seen, len(ends), metric=metric, update=update
            )
            found["layers"] = _paired(ends, chosen)
        return weights

    stages = c.stage(make, given=given)
    return stages


def _paired(ends, points) -> list[str]:
    return [f"{end}={point}" for end, point in zip(ends, points, strict=False)]


def _images(source: data.Source, count: int, view) -> Iterator[jax.Array]:
    rows = data.spread_rows(source.size, count)
    for start in range(0, len(rows), BATCH):
        yield view(jax.tree.map(jnp.asarray, data.read_undamaged(source, rows[start : start + BATCH], skip=True)[0]))
