"""The experiment of a mark in a classifier's probabilities: what is left of it in what others make of the classifier."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.core import Method, Net, check_option, check_positive, check_share, masked_loss
from kdjax.evaluate.watermark import MEASURES, accuracy_of_pair, detector_inputs, marks, watermark_key
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, context_fields
from kdjax.experiment.data import load_data
from kdjax.experiment.nets import net_specification
from kdjax.experiment.rich import taught_within
from kdjax.experiment.watermark_tables import BEFORE, HARD, TUNED, tables
from kdjax.methods import recipes
from kdjax.methods.labels.watermark import watermark_objective
from kdjax.train import Result, Stage


def build(config: Config) -> Experiment:
    """A marked net beside clean ones, what is made of the first two in the same ways, and a detector.

    A seed is a marked net, a clean one that is held out, and `config.references` further clean ones with a student each. From
    the marked ones of these and the further ones the detector learns; whatever came of the marked and of the held-out net is what
    it is measured on.

    Args:
      config: filled.
    """
    dataset, mark, proof = load_data(config), plain(config.mark), plain(config.verification)
    _check(config)
    draw = {"shared": mark.pop("shared"), "concentration": mark.pop("concentration")}
    seed = mark.pop("key")
    key = watermark_key(seed, dataset.classes, **draw)
    others = [watermark_key(seed + 1 + k, dataset.classes, **draw) for k in range(proof["random_keys"])]
    c = ClassifierContext(name="models", method="watermark", settings=mark, **context_fields(config, dataset, config.training))
    s = replace(
        c, training=plain(config.student_training), specification=net_specification(config.student_training.net, dataset, config)
    )
    teachers = [c.specification] * (2 + config.references)
    pair, numbers = {"score": "accuracy", "evaluate": accuracy_of_pair}, range(2, len(teachers))
    ways: dict[str, Callable] = {f"distilled_{t:g}": _softened(t) for t in config.temperatures}
    ways[HARD] = lambda z, q: losses.cross_entropy(z, jnp.argmax(q, -1))
    tuned = replace(c, name=TUNED, training={"micro": 1, **plain(config.tuning)})
    stages = {
        **learnt(c, teachers, key, **pair),
        **learnt(tuned, teachers[:2], **pair, **_start(lambda own, found: found[:2])),
        **taught(replace(s, name="references"), teachers, numbers, _softened(config.reference_temperature)),
    }
    for name, lesson in ways.items():
        stages |= taught(replace(s, name=name), teachers, (0, 1), lesson, **pair)
    parts = {
        "models": teachers, TUNED: teachers[:2], "references": [s.specification] * config.references,
        **{name: [s.specification] * 2 for name in ways},
    }  # fmt: skip
    pruned = {f"pruned_{100 * share:g}": share for share in config.pruning}
    names = (BEFORE, TUNED, *pruned, *ways)
    measure = marks(names, key, others, proof["rates"])
    d = replace(c, name="detector", method="detector", settings={}, training={"micro": 1, **plain(config.detector)})
    stages |= detected(d, parts, pruned, evaluate=measure, score="accuracy", measures=MEASURES)
    return Experiment(stages, dataset, tables=lambda measured, lines: tables(measured, names, proof["rates"]))


def learnt(c: ClassifierContext, nets: Sequence[dict], key: np.ndarray | None = None, **fields: Any) -> dict[str, Stage]:
    """Nets that learn from labels side by side; with a key the first one learns from keyed ones, by the options in the settings."""
    specification = _together(nets)

    def make(c: ClassifierContext) -> Method:
        marking = None if key is None else watermark_objective(key=key, **c.settings)

        def terms(seen, adapted):
            each = [seen.student[f"teacher{k}/logits"] for k in range(len(nets))]
            found = {f"cross_entropy{k}": masked_loss(losses.cross_entropy, z, seen.batch) for k, z in enumerate(each)}
            if marking:
                del found["cross_entropy0"]
                found |= marking.terms(seen.replace(student={"logits": each[0]}), {})
            return found

        objective = recipes.Objective(terms, marking.weights if marking else {}, needs=())
        return recipes.student(c.build(specification), c.tx, objective, name="network", axis_name=c.axis_name, micro=c.micro)

    return c.stage(make, nets={"network": specification}, **fields)


def taught(
    c: ClassifierContext, teachers: Sequence[dict], numbers: Sequence[int], lesson: Callable, **fields: Any
) -> dict[str, Stage]:
    """Students side by side that learn from a teacher each, without labels.

    Args:
      c: of the students.
      teachers: specifications of the nets of the stage `"models"`.
      numbers: which of them teach.
      lesson: `(student's logits, teacher's) -> [B]`.
      **fields: of `Stage`.
    """
    specification = _together([c.specification] * len(numbers))

    def make(c: ClassifierContext) -> Method:
        def terms(seen, adapted):
            pairs = ((seen.student[f"teacher{k}/logits"], seen.teacher[f"teacher{of}/logits"]) for k, of in enumerate(numbers))
            return {f"lesson{k}": lesson(z, q) for k, (z, q) in enumerate(pairs)}

        objective = taught_within(recipes.Objective(terms, {}), c.build(_together(teachers)))
        return recipes.student(c.build(specification), c.tx, objective, name="network", axis_name=c.axis_name, micro=c.micro)

    def start(state: Any, result: Result, member: int) -> Any:
        stats = state.learner.stats
        adapter = {**stats["adapter"], "teacher": _of(result, member)}
        return state._replace(learner=state.learner.replace(stats={**stats, "adapter": adapter}))

    usual = {"evaluate": _nothing, "score": "accuracy"}
    return c.stage(make, nets={"network": specification}, warm_start=start, warm_start_from="models", **usual | fields)


def detected(
    c: ClassifierContext, parts: Mapping[str, Sequence[dict]], pruned: Mapping[str, float], **fields: Any
) -> dict[str, Stage]:
    """A detector that learns to tell the marked net of the stage `"models"` from the further clean ones and their students.

    Args:
      c: of the detector.
      parts: the stages with the specifications of their nets; `"models"` and `"references"` are what it learns from, in the others
        and in the first two of `"models"` lie a marked net and a clean one each.
      pruned: names of ways, and which share of the weights of the first two goes in each.
      **fields: of `Stage`.
    """
    classes = c.specification["classes"]
    own = {"name": "mlp_head", "hidden": 64, "out": 1, "layers": 3, "norm": False, "out_bias": True, "input": [2 * classes]}

    def make(c: ClassifierContext) -> Method:
        net = watching(c.build(own), {name: c.build(_together(nets)) for name, nets in parts.items()}, pruned, classes)

        def terms(seen, adapted):
            told = seen.student
            return {"marked": jax.nn.softplus(-told["told_marked"]), "clean": jnp.mean(jax.nn.softplus(told["told_clean"]), 1)}

        objective = recipes.Objective(terms, {}, needs=())
        method = recipes.student(net, c.tx, objective, name="detector", axis_name=c.axis_name, micro=c.micro)
        return method._replace(weights=lambda state: {"detector": (state.learner.params["student"], {})})

    def start(state: Any, results: tuple[Result, ...], member: int) -> Any:
        held = {name: _of(result, member) for name, result in zip(parts, results, strict=True)}
        return state._replace(learner=state.learner.replace(stats={**state.learner.stats, "student": held}))

    return c.stage(make, nets={"detector": own}, warm_start=start, warm_start_from=tuple(parts), **fields)


def watching(detector: Net, parts: Mapping[str, Net], pruned: Mapping[str, float], classes: int) -> Net:
    """A detector on the answers of frozen nets, as a Net of images whose stats hold these: `{part: {"params", "stats"}}`.

    Args:
      detector: a Net of `evaluate.detector_inputs` with the tap `"embedding"` `[N, 1]`.
      parts: ensembles; of `"models"` the first net is marked, the second clean and held out, the others clean, those of
        `"references"` clean, those of each other part a marked and a clean one.
      pruned: shares of the weights of the first two that go, by name.
      classes: K.

    Returns:
      A Net with the taps `"logits"` `[B, A, 2, K]` of the first two as they are and of the pairs, in the order of `parts`, behind
      the first of which stand the pruned forms; `"told"` `[B, A, 2]`; `"told_marked"` `[B]` of the first net, and `"told_clean"`
      `[B, R]` of what is clean and not held out.
    """

    def init(key, x):
        made = {name: net.init(jax.random.fold_in(key, k), x) for k, (name, net) in enumerate(parts.items(), 1)}
        params, _ = detector.init(key, jnp.zeros((len(x), 2 * classes)))
        return params, {name: {"params": p, "stats": s} for name, (p, s) in made.items()}

    def apply(params, stats, x, *, train, key=None):
        def answers(name: str, change: Callable = lambda params: params) -> list[jax.Array]:
            held = stats[name]
            nets = tuple(change(one) for one in held["params"])
            taps, _ = parts[name].apply(nets, held["stats"], x, train=False)
            return [taps[f"teacher{k}/logits"] for k in range(len(nets))]

        def told(logits: jax.Array) -> jax.Array:
            rows = detector_inputs(logits).reshape(-1, 2 * classes)
            return detector.apply(params, {}, rows, train=False)[0]["embedding"].reshape(logits.shape[:-1])

        first, *rest = [name for name in parts if name not in ("models", "references")]
        own = answers("models")
        pairs = [own[:2], answers(first)]
        pairs += [answers("models", lambda params, share=share: prune(params, share))[:2] for share in pruned.values()]
        pairs += [answers(name) for name in rest]
        logits = jnp.stack([jnp.stack(pair, 1) for pair in pairs], 1)
        clean = jnp.stack([*own[2:], *answers("references")], 1)
        return {"logits": logits, "told": told(logits), "told_marked": told(own[0]), "told_clean": told(clean)}, stats

    return Net(init, apply)


def prune(params: Any, share: float) -> Any:
    """Parameters without the smallest of the weights of all layers together; biases and norms stay.

    Args:
      params: of one net.
      share: of the weights that become 0, from 0 to 1.

    >>> prune({"a": jnp.array([[1.0, -4.0]]), "b": jnp.array([[2.0, 3.0]]), "bias": jnp.array([0.1])}, 0.5)["a"].tolist()
    [[0.0, -4.0]]
    """
    weights = jnp.concatenate([jnp.abs(w).ravel() for w in jax.tree.leaves(params) if w.ndim > 1])
    most = jnp.quantile(weights, share)
    return jax.tree.map(lambda w: jnp.where(jnp.abs(w) < most, 0.0, w) if w.ndim > 1 else w, params)


def _softened(temperature: float) -> Callable:
    return lambda z, q: losses.kl_distillation(z, q, temperature=temperature)


def _together(nets: Sequence[dict]) -> dict:
    return {"name": "ensemble", "nets": list(nets)}


def _start(brought: Callable) -> dict[str, Any]:
    """The fields of a stage that starts from nets of the stage `"models"`."""

    def start(state: Any, result: Result, member: int) -> Any:
        learner, found = state.learner, _of(result, member)
        params = {**learner.params, "student": brought(learner.params["student"], found["params"])}
        stats = {**learner.stats, "student": brought(learner.stats["student"], found["stats"])}
        return state._replace(learner=learner.replace(params=params, stats=stats))

    return {"warm_start": start, "warm_start_from": "models"}


def _of(result: Result, member: int) -> dict[str, Any]:
    """`params` and `stats` of one member's first network."""
    frozen = result.frozen(member=member)
    return jax.tree.map(jnp.array, {"params": frozen.params, "stats": frozen.stats})


def _nothing(collect: Callable, split: str, final: bool) -> dict[str, np.ndarray]:
    return {}


def _check(config: Config) -> None:
    """Refuses what cannot be before anything is trained."""
    many = "1 or more clean models, which the detector learns from"
    check_option("--config.references", config.references, lambda n: 1 <= n <= 64, many)
    check_option("--config.mark.key", config.mark.key, lambda n: n >= 0, "a seed, 0 or more")
    check_option("--config.mark.epsilon", config.mark.epsilon, lambda v: 0 <= v < 0.5, "a number in [0, 0.5)")
    check_option("--config.verification.random_keys", config.verification.random_keys, lambda n: n >= 1, "1 or more random keys")
    check_option("--config.temperatures", tuple(config.temperatures), lambda t: t and min(t) > 0, "one number above 0 or more")
    check_option("--config.pruning", tuple(config.pruning), lambda s: not s or 0 <= min(s) <= max(s) < 1, "numbers in [0, 1)")
    check_positive(**{"--config.reference_temperature": config.reference_temperature})
    rates = tuple(config.verification.rates)
    check_option("--config.verification.rates", rates, lambda r: r and 0 <= min(r) <= max(r) <= 1, "numbers from 0 to 1")
    check_share(**{"--config.mark.share": config.mark.share})
