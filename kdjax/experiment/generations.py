"""The experiment of nets that are taught by the one before them, and of what their lessons hold."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core import Method, check_option, check_positive, check_share, example_keys
from kdjax.evaluate import top_k
from kdjax.evaluate.classifier import classification
from kdjax.evaluate.measure import all_of
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config
from kdjax.experiment.context import Experiment, by_accuracy
from kdjax.experiment.data import load_data
from kdjax.experiment.rich import taught_within
from kdjax.experiment.self_distillation import shared_fields
from kdjax.methods import recipes
from kdjax.methods.offline.kd import kd_objective
from kdjax.train import Result, Stage

Said = Callable[[recipes.Outputs], jax.Array]


def build(config: Config) -> Experiment:
    """`round0` learns from labels, and each further round from labels and the round before: the same net, from another start.

    Every seed is a line of its own. Beside the rounds stand what tells why they help: `permuted`, taught by round 0 whose
    probabilities of all other classes change places, `uniform`, whose other classes are all alike (a smoothing of each image's own
    size), and `of_two`, taught by the mean logits of two of round 0. All learn in as many steps.

    Args:
      config: filled; `rounds`, `label_weight`, `temperature`, and in `controls` whether these are there.
    """
    check_option("--config.rounds", config.rounds, lambda n: 1 <= n <= 64, "1 to 64")
    check_share(**{"--config.label_weight": config.label_weight})
    check_positive(**{"--config.temperature": config.temperature})
    dataset = load_data(config)
    c = ClassifierContext(name="round0", **shared_fields(config, dataset))
    pairs = config.controls and config.seeds > 1
    stages = c.stage(evaluate=all_of(classification, accuracy_of_two) if pairs else classification)
    for number in range(1, config.rounds + 1):
        stages |= taught(c, f"round{number}", f"round{number - 1}", number)
    if config.controls:
        stages |= taught(c, "permuted", "round0", 1, said=permuted)
        stages |= taught(c, "uniform", "round0", 1, said=lambda seen: uniform(seen, config.temperature))
    if pairs:
        stages |= taught(c, "of_two", "round0", 1, two=True)
    rounds = [f"round{number}" for number in range(config.rounds + 1)]
    compare = [(name, "round0") for name in stages if name != "round0"]
    compare += [(b, a) for a, b in pairwise(rounds[1:])]
    compare += [(name, "round1") for name in stages if name not in rounds]
    return Experiment(stages, dataset, by_accuracy(compare))


def taught(
    c: ClassifierContext, name: str, before: str, number: int, *, said: Said | None = None, two: bool = False
) -> dict[str, Stage]:
    """One stage of nets that each learn from the net of their seed in an earlier stage.

    Args:
      c: of the nets.
      name: of the stage.
      before: the earlier one.
      number: of the round; each one draws other starts.
      said: what becomes of the teacher's logits; None: nothing.
      two: whether the net of the next seed teaches too.
    """
    config = c.config
    specification = {"name": "ensemble", "nets": [c.specification] * 2} if two else c.specification

    def make(c: ClassifierContext) -> Method:
        soft = kd_objective(weight=1 - config.label_weight, temperature=config.temperature)
        whole = recipes.combine(recipes.labels_objective(config.label_weight), retold(soft, said) if said else soft)
        objective = taught_within(whole, c.build(specification))
        method = recipes.student(c.network, c.tx, objective, name="network", axis_name=c.axis_name, micro=c.micro)
        return from_other_starts(method, number)

    def start(state: Any, result: Result, member: int) -> Any:
        weights = result.weights["network"]
        members = len(jax.tree.leaves(weights)[0])
        one, other = (jax.tree.map(lambda x, k=k: jnp.array(x[k]), weights) for k in (member, (member + 1) % members))
        held = {part: (one[part], other[part]) if two else one[part] for part in ("params", "stats")}
        stats = state.learner.stats
        adapter = {**stats["adapter"], "teacher": held}
        return state._replace(learner=state.learner.replace(stats={**stats, "adapter": adapter}))

    settings = {"label_weight": config.label_weight, "temperature": config.temperature}
    own = replace(c, name=name, method="kd", settings=settings)
    return own.stage(make, warm_start=start, warm_start_from=before)


def from_other_starts(method: Method, number: int) -> Method:
    """The same method, whose nets start otherwise than those of other numbers at the same key."""

    def init(key, batch, given, **start):
        return method.init(jax.random.fold_in(key, number), batch, given, **start)

    return method._replace(init=init)


def retold(objective: recipes.Objective, said: Said) -> recipes.Objective:
    """An objective that sees other logits of its teacher: those that `said` makes of what is seen."""

    def terms(seen, adapted):
        return objective.terms(seen.replace(teacher={**seen.teacher, "logits": said(seen)}), adapted)

    return objective._replace(terms=terms)


def permuted(seen: recipes.Outputs) -> jax.Array:
    """The teacher's logits `[B, K]` with those of all classes but the label in another order, drawn anew for each image."""
    logits, labels = seen.teacher["logits"], seen.batch["label"]
    others = logits.shape[-1] - 1

    def one(key, z, y):
        places = (y + 1 + jnp.arange(others)) % (others + 1)
        return z.at[places].set(jax.random.permutation(key, z[places]))

    return jax.vmap(one)(example_keys(seen.key, seen.batch["index"]), logits, labels)


def uniform(seen: recipes.Outputs, temperature: float) -> jax.Array:
    """The teacher's logits `[B, K]` with the same for all classes but the label, whose probability at a temperature stays."""
    logits, labels = seen.teacher["logits"], seen.batch["label"]
    classes = logits.shape[-1]
    true = jax.nn.one_hot(labels, classes, dtype=bool)
    together = jax.nn.logsumexp(jnp.where(true, -jnp.inf, logits / temperature), axis=-1, keepdims=True)
    return jnp.where(true, logits, temperature * (together - jnp.log(classes - 1.0)))


def accuracy_of_two(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    """At the end, the accuracy in percent of the mean logits of each net and the next one, the last with the first."""
    if not final:
        return {}
    outputs, columns = collect(split, "logits")
    logits = jnp.asarray(next(iter(outputs.values()))["logits"])
    both = logits + jnp.roll(logits, -1, axis=0)
    return {"ensemble_accuracy": np.asarray(jax.vmap(lambda z: top_k(z, columns["label"]).mean())(both)) * 100}
