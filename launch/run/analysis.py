"""What a finished run is looked into for: its networks and data as they were, and what is computed of them."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from kdjax import data, evaluate, models
from kdjax.core import InputError, Net
from kdjax.core.files import write_json
from kdjax.core.net import NORM
from kdjax.experiment.data import load_data, view
from kdjax.experiment.sections import data_section
from kdjax.experiment.teaching import teacher_of
from kdjax.train.load import read_run
from launch.run import landscape, robustness
from launch.run.image_batches import Batches, Weights, count, draw, foreign, noise
from launch.run.progress import tell
from launch.table import analysis_plots, analysis_seeds, robustness_plots, runs

PARTS = ("calibration", "cka", "correlation", "sharpness", "landscape", "ood", "attack", "corruption")
USUAL = PARTS[:4]
ON_TRAINING = ("sharpness", "landscape")
COMPARING = ("cka", "correlation")
DRAWS = 50  # vectors behind an estimate of the trace


def analyse(
    folder: Path,
    what: tuple[str, ...],
    stages: tuple[str, ...] | None,
    *,
    images: int,
    seeds: tuple[int, ...],
    others: tuple[str, ...] = (),
) -> None:
    """Computes, writes `analysis/` in the run's folder and shows a table; of several seeds one each, and one of all."""
    run = _finished(folder)
    config, dataset = _data(run)
    each = [_networks(run, config, dataset, stages, seed) for seed in seeds]
    networks, several = each[0], len(seeds) > 1
    needy = [name for name in what if name in COMPARING]
    if needy and "teacher" not in networks:
        rest = ",".join(name for name in USUAL if name not in COMPARING)
        raise InputError(f"{folder} has no teacher, with which {' and '.join(needy)} compare: --what={rest} does without")
    test = draw(dataset.test, images, config)
    train = draw(dataset.train, images, config) if set(ON_TRAINING) & set(what) else []
    outside = {name: foreign(name, dataset, images, config) for name in others} | noise(dataset, test) if "ood" in what else {}
    console, every = Console(), []
    for seed, networks in zip(seeds, each, strict=True):
        about = {
            "data": config.data.source,
            "seed": runs.seeds_of(run, range(config.seeds))[seed],
            "test_images": count(test),
            "train_images": count(train),
        }
        every.append(_looked_into(console, networks, what, test, train, outside))
        place = folder / "analysis" / (f"seed{seed}" * several)
        place.mkdir(exist_ok=True, parents=True)
        write_json(place / "analysis.json", {**about, "networks": every[-1]})
        analysis_plots.draw(place, every[-1], dataset.names, run.about["stages"])
        robustness_plots.draw(place, every[-1], run.about["stages"])
        analysis_plots.table(console, every[-1], about, robustness_plots.rows(every[-1]))
    if several:
        first = next(name for name in networks if name != "teacher")
        table = analysis_seeds.over_seeds(every, first)
        write_json(folder / "analysis" / "seeds.json", {"seeds": list(seeds), "against": first, "measures": table})
        analysis_seeds.show(console, table, first, seeds)
    tell(console, f"kept in {folder / 'analysis'}: {'seeds.json, and of each seed ' * several}analysis.json and plots")


def _looked_into(
    console: Console,
    networks: dict[str, Weights],
    what: tuple[str, ...],
    test: Batches,
    train: Batches,
    outside: dict[str, Batches],
) -> dict[str, dict]:
    """What is asked of each network, told on the way."""
    with console.status("") as status:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                tell(console, text)

        return dict(_computed(networks, what, test, train, outside, say, status.update))


def _computed(
    networks: dict[str, Weights],
    what: tuple[str, ...],
    test: Batches,
    train: Batches,
    outside: dict[str, Batches],
    tell: Callable,
    note: Callable,
) -> Iterator[tuple[str, dict]]:
    """What is asked of each network, the teacher first."""
    labels = jnp.concatenate([batch["label"] for batch in test])
    taps = {}
    for name, weights in networks.items():
        tell(f"{name}: layers of {len(labels)} test images")
        taps[name] = _layers(weights, test)
        if "logits" not in taps[name]:
            raise InputError(f"stage {name!r} holds an encoder without classes: expected a classifier")
    for name, weights in networks.items():
        found = {}
        if "calibration" in what:
            found["calibration"] = _calibration(taps[name]["logits"], labels)
        if "cka" in what and name != "teacher":
            tell(f"{name}: CKA of {len(taps[name])} layers with {len(taps['teacher'])}")
            found["cka"] = _cka(taps[name], taps["teacher"])
        if "correlation" in what and name != "teacher":
            found["correlation"] = _correlation(taps[name]["logits"], taps["teacher"]["logits"])
        if "sharpness" in what:
            tell(f"{name}: sharpness at {count(train)} training images")
            found["sharpness"] = _sharpness(weights, _Counted(train, lambda n, of=name: note(f"{of}: sharpness, pass {n}")))
        if "landscape" in what:
            tell(f"{name}: landscape at {count(train)} training images")
            found["landscape"] = landscape.landscape(weights, train)
            first = next(iter(networks))
            if name != first and (path := landscape.way(networks[first], weights, train)):
                found["landscape"]["way"] = {"from": first, **path}
        if "ood" in what:
            tell(f"{name}: {', '.join(outside)} beside test images")
            found["ood"] = robustness.ood(weights, test, outside)
        if "attack" in what:
            tell(f"{name}: attacks on {count(test)} test images")
            found["attack"] = robustness.attack(weights, test)
        if "corruption" in what:
            tell(f"{name}: damage of {count(test)} test images")
            found["corruption"] = robustness.corruption(weights, test)
        yield name, found


def _layers(weights: Weights, batches: Batches) -> dict[str, jax.Array]:
    """Every layer `[N, C]`, in order."""
    net, params, stats = weights

    @jax.jit
    def layers(images):
        taps, _ = net.apply(params, stats, images, train=False)
        kept = [name for name in taps if not name.startswith(NORM) and not name.endswith("_preact")]
        return OrderedDict((name, evaluate.position_mean(taps[name])) for name in kept)  # a plain dict would come back sorted

    parts = [layers(batch["image"]) for batch in batches]
    return {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}


def _calibration(logits: jax.Array, labels: jax.Array) -> dict:
    return {
        "accuracy": 100 * float(evaluate.top_k(logits, labels).mean()),
        "nll": float(evaluate.negative_log_likelihood(logits, labels).mean()),
        "ece": 100 * float(evaluate.expected_calibration_error(logits, labels)),
        "bins": {name: _plain(x) for name, x in evaluate.reliability(logits, labels)._asdict().items()},
    }


def _cka(student: dict[str, jax.Array], teacher: dict[str, jax.Array]) -> dict:
    found = evaluate.similarities(list(student.values()), list(teacher.values()), evaluate.linear_cka)
    return {"layers": list(student), "teacher_layers": list(teacher), "values": _plain(found)}


def _correlation(student: jax.Array, teacher: jax.Array) -> dict:
    return {
        "agreement": 100 * float(evaluate.top1_agreement(student, teacher).mean()),
        "gap": float(evaluate.correlation_gap(student, teacher)),
        "difference": _plain(evaluate.correlation_difference(student, teacher)),
    }


def _sharpness(weights: Weights, batches: "_Counted") -> dict:
    net, params, stats = weights
    loss = evaluate.evaluation_loss(net, stats)
    top = evaluate.hessian_top(loss, params, batches, jax.random.key(0))
    trace = evaluate.hessian_trace(loss, params, batches, jax.random.key(1), draws=DRAWS)
    return {
        "eigenvalue": float(top.values[0]),
        "eigenvalue_error": float(top.errors[0]),
        "trace": trace.mean,
        "trace_error": trace.error,
    }


class _Counted:
    """Batches that tell each time they are gone through."""

    def __init__(self, batches: Batches, tell: Callable[[int], None]):
        self._batches, self._tell, self._passes = batches, tell, 0

    def __iter__(self) -> Iterator[dict]:
        self._passes += 1
        self._tell(self._passes)
        return iter(self._batches)


def _finished(folder: Path) -> runs.Finished:
    found = runs.find([str(folder)], lambda line: None)
    if [run.folder for run in found] != [folder]:
        raise InputError(f"{folder} holds runs: expected the folder of one")
    return found[0]


def _data(run: runs.Finished) -> tuple[Any, data.Dataset]:
    """The config of a run and its data, as they were."""
    try:
        config: Any = ConfigDict(run.about["config"])
        later = data_section("", batch=1, val_fraction=0.0)  # a run that an earlier version made lacks newer fields
        config.data = ConfigDict({**later, **run.about["config"]["data"]})
        digest = run.about["data"]["digest"]
        dataset = load_data(config)
    except (KeyError, AttributeError, TypeError):
        raise InputError(f"{run.folder / 'config.json'} is damaged: expected the records of a run, with its config") from None
    if dataset.digest != digest:
        raise InputError(f"{config.data.source} has changed since {run.folder}: expected the images of that run")
    return config, dataset


def _networks(
    run: runs.Finished, config: Any, dataset: data.Dataset, stages: tuple[str, ...] | None, seed: int
) -> dict[str, Weights]:
    """The teacher, where there is one, and the students, on images as they are read."""
    seen = view(config.data.crop)

    def weights(specification: dict, params: Any, stats: Any) -> Weights:
        net = models.build(_in_float32(specification))
        return Net(net.init, lambda p, s, x, **options: net.apply(p, s, seen(x), **options)), params, stats

    found = {}
    if "teacher" in run.about["stages"]:
        found["teacher"] = weights(*_trained_teacher(run, config))
    elif config.get("teacher"):
        teacher = teacher_of(config, dataset).outside
        if teacher is None or teacher.sha256 != run.about.get("teacher", {}).get("sha256"):
            raise InputError(f"{config.teacher} has changed since {run.folder}: expected the teacher of that run")
        found["teacher"] = weights(teacher.specification, teacher.params, teacher.stats)
    for stage in stages or run.about["stages"][-1:]:
        if stage == "teacher":
            raise InputError("--stage=teacher is not accepted: expected students; a teacher is shown beside them")
        try:
            found[stage] = weights(*read_run(run.folder, stage, member_number=seed))
        except InputError as error:
            raise InputError(str(error).replace("member_number", "--seed")) from None
    return found


def _trained_teacher(run: runs.Finished, config: Any) -> tuple[dict, Any, Any]:
    """The teacher that a run trained; several as their ensemble."""
    read = [read_run(run.folder, "teacher", member_number=k) for k in range(config.get("teachers", 1))]
    if len(read) == 1:
        return read[0]
    nets, params, stats = zip(*read, strict=True)
    return {"name": "ensemble", "nets": nets, "weights": tuple(config.get("teacher_weights", ()))}, params, stats


def _in_float32(specification: dict) -> dict:
    if "nets" in specification:
        return {**specification, "nets": [_in_float32(one) for one in specification["nets"]]}
    return {**specification, "dtype": "float32"}


def _plain(x: Any) -> list:
    return np.asarray(x, np.float64).round(4).tolist()
