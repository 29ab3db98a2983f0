"""A model card: what a trained network is, how it came about, what it can do and what is not known of it."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import kdjax
from kdjax import methods, models
from kdjax.core.printable import printable
from kdjax.evaluate import Measure, measure_of
from kdjax.evaluate.classifier import sampling_error
from launch.run.checks import fields
from launch.table import protocol
from launch.table.markdown import cell, escaped
from launch.table.measures import known_measures, label, score_of, words
from launch.table.task import CLASSIFY, CONTINUE, FEATURES, GENERATE, SEGMENT, task_of


def files_of(nets: Mapping[str, Any], members: int) -> Iterator[tuple[str, str, int]]:
    """`(file, network, member)`: the first network's are `seed0.safetensors`, ..., others have their name in them."""
    for k, network in enumerate(nets):
        for i in range(members):
            yield f"seed{i}{f'-{network}' * (k > 0)}.safetensors", network, i


def members_of(network: dict) -> int:
    """How many members a Result's network has."""
    return jax.tree.leaves(network)[0].shape[0]


def seed_of(summary: dict, i: int) -> int:
    """The seed of a member."""
    seeds = summary.get("seeds", ())
    return seeds[i] if i < len(seeds) else i


def card(about: dict, summary: dict, stage: str, result: Any, made: Any) -> str:
    """The model card of a stage, as Hugging Face reads them.

    Args:
      about: what config.json holds.
      summary: what summary.json holds.
      stage: its name.
      result: its Result.
      made: its Stage.
    """
    config, data = dict(fields(about["config"])), about["data"]
    method = made.about.get("method", summary["method"])
    name = f"{protocol.network_of(stage, config).split(' ')[0] or 'network'}, {stage.replace('_', ' ')}"
    own = {key.partition("/")[2]: found for key, found in summary["results"].items() if key.startswith(f"{stage}/")}
    nets = {k: v for k, v in made.nets.items() if k in result.weights}
    members = members_of(result.weights[next(iter(nets))])
    task = task_of(next(iter(nets.values())))
    alone = [] if "teacher" in made.method.needs else ["teacher"]
    parts = [
        _front(about, summary, name, method, own, task),
        f"# {name}",
        _what(summary, data, stage, method, members),
        "## Networks\n\n" + "\n".join(_network(n, nets[n], result.weights[n]) for n in nets),
        "## Data and preprocessing\n\n" + _data(about, summary, config, next(iter(nets.values()))),
        "## Training\n\n" + _training(about, summary, stage, result, made, method),
        "## Results\n\n" + _results(about, summary, stage, own, nets, members),
        "## Protocol\n\n" + "; ".join(map(escaped, protocol.words(about, summary, [stage], skip=alone))) + ".",
        "## Intended use and limits\n\n" + _limits(summary, data, stage, own, task),
        "## Loading\n\n" + _loading(data, next(iter(nets.values()))),
    ]
    if reference := _reference(method, made.about):
        parts.append(f"## Reference\n\n{reference}")
    versions = ", ".join(f"{k} {v}" for k, v in about["platform"].items() if k not in ("device", "devices"))
    made_with = (
        f"kdjax {kdjax.__version__}, commit {about.get('git') or 'unknown'}; {versions}; {protocol.device_of(about, summary)}"
    )
    parts.append(f"## Versions\n\n{made_with}.")
    return "\n\n".join(parts) + "\n"


_LOADING = """```python
import json

import numpy as np
from kdjax import models
from kdjax.models.pretrained import nested

found = models.read_weights("seed0.safetensors")
net, weights = models.build(json.loads(found.metadata["kdjax"])), nested(found.arrays)
{inputs}
taps, _ = net.apply(weights["params"], weights.get("stats", {{}}), inputs, train=False)
print({{name: tap.shape for name, tap in taps.items()}})
```

{command}"""
_IMAGES = "inputs = np.zeros((1, {}, {}, {}), np.float32)  # in [0, 1]; the network itself takes off mean and std"
_ROWS = "inputs = np.zeros((1, {}), np.float32)  # a row of numbers"
_TOKENS = "inputs = np.zeros((1, {}), np.int32)  # numbers of tokens"
_LATENTS = "inputs = np.random.default_rng(0).standard_normal((1, {})).astype(np.float32)  # latents; the tap `image` is in [0, 1]"
_PREDICT = (
    "`python launch/predict.py seed0.safetensors <image or folder>` classifies image files; names of classes are in its metadata."
)
_FEATURES = "`python launch/predict.py seed0.safetensors <image or folder> --features=features.npz` writes features of image files."
_SAMPLE = "`python launch/sample.py seed0.safetensors --out=images.png` draws images from it."


def _front(about, summary, name, method, own, task) -> str:
    dataset, known = printable(protocol.place_free(about["data"]["source"]).rpartition(":")[2]), known_measures(summary)
    lines = [
        "---", "# license: yours to choose", "library_name: kdjax", f"pipeline_tag: {task}",
        "tags:", "- jax", *(["- knowledge-distillation"] if method != "supervised" else []), f"- {json.dumps(method)}",
        "datasets:", f"- {json.dumps(dataset)}", "metrics:",
        *dict.fromkeys(f"- {_kind(m, known)}" for m in own if m.startswith("test_")),
        "model-index:", f"- name: {json.dumps(name)}", "  results:",
        "  - task:", f"      type: {task}",
        "    dataset:", f"      name: {json.dumps(dataset)}", f"      type: {json.dumps(dataset)}", "      split: test",
        "    metrics:",
    ]  # fmt: skip
    for measure, found in own.items():
        if measure.startswith("test_") and found["mean"] is not None:
            lines += [
                f"    - type: {_kind(measure, known)}",
                f"      name: {json.dumps(label(measure, known))}",
                f"      value: {found['mean']:.4f}",
            ]
    return "\n".join([*lines, "---"])


def _kind(measure: str, known: Mapping[str, Measure]) -> str:
    """The shortest name in the table of measures that ends that of a measure: a kNN accuracy is an accuracy."""
    names = [name for name in known if f"_{measure}".endswith(f"_{name}")]
    return min(names, key=len, default=measure.removeprefix("test_"))


def _what(summary, data, stage, method, members) -> str:
    classes = "texts" if len(data["shape"]) == 1 else f"images of {len(data['names'])} classes" if data["names"] else "images"
    first = (inspect.getdoc(getattr(methods, method, None)) or "").partition("\n")[0] if method in methods.__all__ else ""
    seeds = f"{members} networks that differ by their seed, a file each" if members > 1 else "One network"
    run = f"`{stage}` of a run of `{summary['method']}` on {classes} ({escaped(protocol.place_free(data['source']))})"
    return f"{seeds}: {run}. {first}".strip()


def _loading(data: Mapping[str, Any], specification: Mapping[str, Any]) -> str:
    if task_of(specification) == CONTINUE:
        return _LOADING.format(inputs=_TOKENS.format(*data["shape"]), command="").strip()
    height, width, channels = data["shape"]
    shape = models.input_shape(specification, (data["crop"] or height, data["crop"] or width, channels))
    if task_of(specification) == GENERATE:
        return _LOADING.format(inputs=_LATENTS.format(*shape), command=_SAMPLE)
    if len(shape) == 1:
        return _LOADING.format(inputs=_ROWS.format(*shape), command="").strip()
    command = {CLASSIFY: _PREDICT, FEATURES: _FEATURES}.get(task_of(specification), "")
    return _LOADING.format(inputs=_IMAGES.format(*shape), command=command).strip()


def _network(name, specification, weights) -> str:
    count = sum(int(np.prod(x.shape[1:])) for x in jax.tree.leaves(weights["params"]))
    told = {k: v for k, v in specification.items() if k not in ("name", "mean", "std", "dtype")}
    options = ", ".join(f"{k} {protocol.shown(v)}" for k, v in told.items())
    precision = specification.get("dtype", "float32")
    return f"- `{name}`: {specification['name']} ({options}), {count:,} parameters, computed in {precision}"


def _data(about, summary, config, specification) -> str:
    data, told = about["data"], summary["protocol"]
    lines = [
        f"- {escaped(protocol.data_of(about, summary))}; {_rows(data['shape'])}",
        *([f"- evaluated on the centre of {data['crop']} x {data['crop']} pixels"] if data["crop"] else []),
        *([f"- {protocol.TURNED}, in training and in `launch/predict.py`"] if protocol.turned(about) else []),
        f"- {told['train_images']} training, {told['validation_images']} validation, {told['test_images']} test images",
        f"- augmentation in training: {config.get('data.augment', 'none')}",
    ]
    if "mean" in specification:
        lines.append(
            f"- input: numbers in [0, 1]; the network takes off mean {specification['mean']}, divides by std {specification['std']}"
        )
    if data["names"] and len(data["shape"]) > 1:
        more = f" and {len(data['names']) - 20} more" * (len(data["names"]) > 20)
        shown = ", ".join(map(escaped, data["names"][:20])) + more
        lines.append(f"- classes, in order: {shown}")
    return "\n".join(lines)


def _rows(shape) -> str:
    return (
        f"texts of {shape[0]} tokens" if len(shape) == 1 else f"images of {' x '.join(map(str, shape))} (height, width, channels)"
    )


def _training(about, summary, stage, result, made, method) -> str:
    config, lines = about["config"], [f"- method: {method}"]
    options = {k: v for k, v in made.about.items() if k not in ("method", "training")}
    if config.get("method", {}).get("name") == method:
        options |= {k: v for k, v in config["method"].items() if k != "name"}
    if options:
        lines.append("- options: " + ", ".join(f"{k} {protocol.shown(v)}" for k, v in options.items()))
    section = protocol.section_of(stage, dict(fields(config)))
    training = made.about.get("training") or config.get(f"{section}_training", {})
    if optimiser := training.get("optimiser"):
        chosen = result.points[0] if result.points else {}
        told = {k: chosen.get(k, v) for k, v in optimiser.items() if k != "name"}
        lines.append(f"- optimiser: {optimiser['name']}, " + ", ".join(f"{k} {protocol.shown(v)}" for k, v in told.items()))
    if result.points:
        *numbers, score = result.points[0]
        known = known_measures(summary)
        digits = measure_of(score, known).digits
        tried = "; ".join(", ".join(f"{p[n]:g}" for n in numbers) + f": {p[score]:.{digits}f}" for p in result.points)
        lines.append(f"- {', '.join(numbers)} chosen by {label(score, known)} among {tried}")
    lines.append(f"- budget: {summary['steps'][stage]} steps of {made.batch} rows; weights of step {result.step}")
    lines.append(f"- weights sha256: {result.digest}")
    if "teacher" in made.method.needs:
        lines.append(f"- teacher: {_teacher(about, summary)}")
    return "\n".join(lines)


def _teacher(about, summary) -> str:
    if digest := about.get("weights", {}).get("teacher"):
        score = f"test_{score_of(summary, 'teacher')}"
        found, measure = summary["results"].get(f"teacher/{score}"), measure_of(score, known_measures(summary))
        told = f", test {words(score)} {measure.shown(found['mean'])}" if found and found["mean"] is not None else ""
        return f"the stage `teacher` of the same run, sha256 {digest}{told}"
    sha256 = protocol.given_teacher(about).get("sha256")
    return "given from outside" + f", sha256 {sha256}" * bool(sha256)


def _results(about, summary, stage, own, nets, members) -> str:
    measures, known = list(own), known_measures(summary)
    rows = [["file", "seed", *(label(m, known) for m in measures)], ["---"] * 2 + ["---:"] * len(measures)]
    for file, network, i in files_of(nets, members):
        if network == next(iter(nets)):
            values = [[own[m]["values"][i]] if i < len(own[m]["values"]) else None for m in measures]
            rows.append([file, str(seed_of(summary, i)), *(cell(v, m, known) for v, m in zip(values, measures, strict=True))])
    rows.append(["mean ± std", "", *(cell(own[m]["values"], m, known) for m in measures)])
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    gaps = [c for c in summary.get("comparisons", ()) if c["result"].startswith(f"{stage}/")]
    told = []
    for c in gaps:
        mean, low, high = (f"{c[k]:+.{measure_of(c['result'], known).digits}f}" for k in ("mean", "low", "high"))
        told.append(f"- minus `{c['baseline']}`: {mean}, 95% interval [{low}, {high}], paired by seed")
    return text + ("\n\n" + "\n".join(told)) * bool(told)


_USES = {
    SEGMENT: "Tells the class of every pixel of images like those it was trained on",
    GENERATE: "Makes up images like those it was trained on",
    CONTINUE: "Tells the next token of texts like those it was trained on",
    CLASSIFY: "Classifies images like those it was trained on",
    FEATURES: "Gives features (the tap `pooled`) of images like those it was trained on",
}


def _limits(summary, data, stage, own, task) -> str:
    n, score = summary["protocol"]["test_images"], f"test_{score_of(summary, stage)}"
    lines = [f"{_USES[task]}; made to compare ways of training, not for decisions about people.", ""]
    if score in own and (points := sampling_error(score, own[score]["mean"], n)) is not None:
        lines.append(f"- {n} test images leave the {words(score)} uncertain by about {points:.2f} points, whatever the seeds say.")
    missing = [word for word, measure in (("calibration", "test_ece"), ("likelihood", "test_nll")) if measure not in own]
    missing += ["other data", "shifted or corrupted images", "adversarial inputs", "differences between groups", "speed"]
    lines.append(f"- Not measured: {', '.join(missing)}.")
    if not summary["protocol"].get("validation_images"):
        lines.append(
            "- There were no validation images: hyperparameters are those of the config, and nothing was chosen by this run."
        )
    lines.append("- The licence of these weights, and that of the data, is for whoever publishes them to settle.")
    return "\n".join(lines)


def _reference(method: str, options: Mapping[str, Any]) -> str:
    if method not in methods.__all__:
        return ""
    text = inspect.getdoc(getattr(methods, method)) or ""
    found = re.search(r"^Reference: (.+?)(?:\n\n|\Z)", text, re.M | re.S)
    reference = " ".join(found[1].split()) if found else ""
    about_option = re.match(r"(\w+): ", reference)  # a paper behind one option, not behind the method
    return reference if not about_option or options.get(about_option[1]) else ""
