"""The next token, from a teacher to a student by `kd`, judged by perplexity."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from kdjax import core, losses, methods
from kdjax.experiment import sections
from kdjax.experiment.context import Experiment
from kdjax.experiment.data import load_data, sampler, steps_per_epoch
from kdjax.train import Pace, Stage


class Bigrams(nn.Module):
    """Scores of the next token from this one."""

    width: int
    vocabulary: int

    @nn.compact
    def __call__(self, tokens, train):
        return {"logits": nn.Dense(self.vocabulary)(nn.relu(nn.Embed(self.vocabulary, self.width)(tokens)))}


def get_config(variant: str = "") -> ConfigDict:
    return ConfigDict(
        {
            **sections.run_section(seeds=2),
            "data": sections.data_section("npz:text.npz", batch=16, val_fraction=0.25),
            "epochs": 4,
            "method": {"name": "kd", "temperature": 2.0},
        }
    )


def surprise(network):
    def sums(outputs, batch, where):
        counted = where[:, None] & (batch["label"] >= 0)
        each = losses.cross_entropy(outputs[network]["logits"], jnp.maximum(batch["label"], 0))
        return jnp.sum(jnp.where(counted, each, 0.0)), jnp.sum(counted)

    def measure(collect, split, final):
        summed, count = collect.reduce(split, sums)
        return {"perplexity": np.exp(summed / count)}

    return measure


def build(config):
    dataset = load_data(config)
    each = steps_per_epoch(config, dataset)
    teacher, student = (core.from_linen(Bigrams(width, dataset.classes)) for width in (16, 4))
    common = {
        "steps": config.epochs * each, "batch": config.data.batch, "pace": Pace(each, each, each), "nets": {},
        "source": dataset.train, "sampler": sampler(config, dataset.train), "augment": lambda keys, batch: batch,
        "score": "perplexity", "members": config.seeds,
    }  # fmt: skip
    distilled = methods.kd(student, teacher, optax.adam(0.05), temperature=config.method.temperature)
    stages = {
        "teacher": Stage(
            method=methods.supervised(teacher, optax.adam(0.05)), evaluate=surprise("network"), **(common | {"members": 1})
        ),
        "student": Stage(
            method=distilled, evaluate=surprise("student"), given=lambda results: {"teacher": results["teacher"].frozen()}, **common
        ),
    }
    return Experiment(stages, dataset)
