"""Classes of pixels from a small net: labels that move with their images, mIoU as the score."""

from functools import partial

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from kdjax import augment, evaluate, methods, models
from kdjax.experiment import sections
from kdjax.experiment.context import Experiment
from kdjax.experiment.data import load_data, sampler, steps_per_epoch
from kdjax.train import Pace, Stage


def get_config(variant: str = "") -> ConfigDict:
    return ConfigDict(
        {
            **sections.run_section(seeds=2, select="best", evaluate_epochs=1, save_epochs=1),
            "data": sections.data_section("npz:squares.npz", batch=8, val_fraction=0.25),
            "epochs": 6,
            "learning_rate": 0.1,
        }
    )


def counts(outputs, batch, where):
    labels = jnp.where(where[:, None, None], batch["label"], -1)
    return evaluate.confusion_matrix(outputs["network"]["logits"], labels)


def measure(collect, split, final):
    return {"mean_iou": 100 * evaluate.mean_iou(collect.reduce(split, counts))}


def build(config):
    dataset = load_data(config)
    each = steps_per_epoch(config, dataset)
    specification = {"name": "fcn", "widths": [8], "classes": dataset.classes}
    stage = Stage(
        method=methods.supervised(models.build(specification), optax.adam(config.learning_rate)),
        steps=config.epochs * each,
        batch=config.data.batch,
        pace=Pace(each, each, each),
        nets={"network": specification},
        source=dataset.train,
        sampler=sampler(config, dataset.train),
        augment=augment.jointly(
            [augment.flip, partial(augment.pad_crop, padding=2)], [partial(augment.gaussian_noise, std=0.05)], masks=["label"]
        ),
        evaluate=measure,
        score="mean_iou",
        members=config.seeds,
    )
    return Experiment({"network": stage}, dataset)
