"""A stage whose teacher is asked once, for the tests of what is kept of it."""

import json

import jax
import jax.numpy as jnp
from tiny import linear, run, sgd, stage

from kdjax import methods
from kdjax.core import Frozen
from kdjax.train import run_stages
from kdjax.train.teacher_cache.spec import TeacherCache

TEACHER = Frozen(*linear().init(jax.random.key(5), jnp.zeros((1, 4, 4, 1))), "digest")


def student(method=None, **changed):
    """A stage with a teacher that is asked once, in two views."""
    fields = {"given": lambda _: {"teacher": TEACHER}, "teacher_cache": TeacherCache(linear(), views=2, classes=3)}
    return stage(method or methods.kd(linear(), linear(), sgd()), **(fields | changed))


def kept_in(folder, **changed):
    return TeacherCache(linear(), **({"views": 2, "classes": 3, "folder": str(folder)} | changed))


def metrics(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def trained(folder, one, said=None, **options):
    return run_stages({"student": one}, run(folder, said, **options))["student"]


def watching(taps=("logits",), axis=None):
    """A method that trains nothing: it shows how far what is kept is from what the teacher gives for the image, and the image."""
    method = methods.kd(linear(), linear(), sgd())

    def step(state, batch, key):
        wanted, _ = linear().apply(TEACHER.params, TEACHER.stats, batch["image"], train=False)
        assert set(batch["teacher"]) == set(taps) and all(x.dtype == jnp.float32 for x in batch["teacher"].values())
        apart = [jnp.max(jnp.abs(wanted[tap] - batch["teacher"][tap])) for tap in taps]
        shown = {"apart": jnp.max(jnp.stack(apart))}
        shown = (
            {"apart": jax.lax.pmax(shown["apart"], axis)} if axis else shown | {name: batch[name] for name in ("index", "image")}
        )
        return state._replace(step=state.step + 1), shown

    return method._replace(step=step)
