"""A step of distillation as one writes it without a framework: what kdjax's own step is held against."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import models
from kdjax.core import InputError
from kdjax.core.images import inputs_as_float
from kdjax.train import Stage
from launch.bench.program import compile_program
from launch.bench.subject import Subject, Untrained, specification_of

TEMPERATURE, LABELS, SOFT = 4.0, 0.1, 0.9


def bare_step(stages: Mapping[str, Stage], name: str) -> Subject:
    """The jitted gradient step of a stage's network alone, on one batch that is there.

    Its loss is the cross-entropy of labels, and beside a teacher `0.1` times that and `0.9 T^2` times the divergence from
    the teacher at `T = 4`; SGD with momentum. Whatever the stage asks for besides is not in it: hold plain distillation against it.

    Args:
      stages: of the experiment.
      name: of the stage, which has one member, a source of labelled images and a classifier.

    Raises:
      InputError: for another stage.
    """
    stage = stages[name]
    if stage.source is None or stage.members > 1 or not stage.nets or not next(iter(stage.nets.values())).get("classes"):
        raise InputError(f"--against=bare is not accepted for stage {name!r}: expected a classifier, one seed, and labelled images")
    net = models.build(next(iter(stage.nets.values())))
    given = stage.given(Untrained(stages))
    if set(given) - {"teacher"}:
        raise InputError(f"--against=bare is not accepted for stage {name!r}, which is given {', '.join(given)}")
    teacher = models.build(specification_of(given["teacher"], stages)) if given else None
    rows = stage.source.read(np.arange(stage.batch))
    x, y = inputs_as_float(rows["image"]), rows["label"]
    params, stats = jax.jit(net.init)(jax.random.key(0), x)
    tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9))

    def step(moving: Any, weights: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        params, stats, opt = moving

        def loss(params):
            taps, new = net.apply(params, stats, x, train=True)
            hard = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(taps["logits"], y))
            if teacher is None:
                return hard, new
            aim = jax.nn.log_softmax(teacher.apply(weights[0], weights[1], x, train=False)[0]["logits"] / TEMPERATURE)
            found = jax.nn.log_softmax(taps["logits"] / TEMPERATURE)
            soft = jnp.mean(jnp.sum(jnp.exp(aim) * (aim - found), -1)) * TEMPERATURE**2
            return LABELS * hard + SOFT * soft, new

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt = tx.update(gradient, opt, params)
        return (optax.apply_updates(params, updates), stats, opt), value

    held = [(params, stats, tx.init(params))]
    weights = (given["teacher"].params, given["teacher"].stats) if teacher else ()
    compiled, program = compile_program(jax.jit(step, donate_argnums=0), held[0], weights, x, y)

    def call() -> Any:
        held[0], value = compiled(held[0], weights, x, y)
        return value

    return Subject(call, 1, stage.batch, program)
