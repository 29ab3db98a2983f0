"""What students without data are held against: the same student with data, on noise, and on images of another set."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import data, methods
from kdjax.core import InputError, check_option
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config
from kdjax.experiment.context import context_fields
from kdjax.experiment.entry import Entry
from kdjax.experiment.student import StudentContext, beside_teacher
from kdjax.experiment.tasks import read_tasks
from kdjax.experiment.teaching import Teaching
from kdjax.train import Stage

WITH_DATA = ("student_alone", "with_data")
REFERENCES = (*WITH_DATA, "noise", "other_images")


def references(config: Config, dataset: data.Dataset, teaching: Teaching, student_steps: int) -> dict[str, Stage]:
    """The stages of `config.references`, each of as many steps of the student as the others.

    `student_alone` learns from the labels, `with_data` from the teacher on the training images, `noise` from the teacher on images
    of normal noise with the mean and deviation of the data, `other_images` from the teacher on those of the set `config.other`,
    brought to the size and channels of the data.

    Args:
      config: filled.
      dataset: the data of the teacher.
      teaching: the teacher.
      student_steps: of each student.
    """
    names = tuple(config.references)
    check_option("references", names, lambda names: set(names) <= set(REFERENCES), f"some of {', '.join(REFERENCES)}")
    shared = context_fields(config, dataset, config.student_training)
    shared["training"] |= {"epochs": max(1, math.ceil(student_steps / shared["steps_per_epoch"]))}
    imitation = {"label_weight": 0.0, "weight": 1.0, "temperature": config.reference_temperature}
    taught = StudentContext(
        name="with_data", method="kd", entry=Entry(methods.kd, beside_teacher), settings=imitation, teaching=teaching, **shared
    )
    stages: dict[str, Stage] = {}
    if "student_alone" in names:
        stages |= ClassifierContext(name="student_alone", settings={"smoothing": 0.0}, **shared).stage()
    if "with_data" in names:
        stages |= taught.stage()
    if "noise" in names:
        stages |= replace(taught, name="noise").stage(augment=noise(taught.mean, taught.std))
    if "other_images" in names:
        if not config.other:
            raise InputError("--config.other='' is not accepted: reference 'other_images' needs a set, as of --config.data.source")
        (task,) = read_tasks((config.other,), dataset, config.data, "--config.other")
        stages |= replace(taught, name="other_images", source=task.train).stage()
    return stages


def noise(mean: Any, std: Any):
    """`(keys, batch) -> batch` with normal noise in the place of the images, held in [0, 1]."""

    def augment(keys, batch):
        shape = batch["image"].shape[1:]
        drawn = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        scale, shift = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), (1, 1, 1, shape[-1])) for x in (std, mean))
        return {**batch, "image": jnp.clip(drawn * scale + shift, 0.0, 1.0)}

    return augment
