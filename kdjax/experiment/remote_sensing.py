"""The experiment of encoders of satellite images: what few labels are worth, and which transforms of the views matter."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kdjax.core import InputError, check_option
from kdjax.data import Dataset, in_bands, label_fraction, subset
from kdjax.data.source import SEVERAL as CLASSES
from kdjax.evaluate.encoder import probed_rows
from kdjax.evaluate.measure import all_of
from kdjax.evaluate.multi_label import on_several_classes
from kdjax.experiment import representation
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, stages_of
from kdjax.experiment.data import load_data
from kdjax.experiment.entry import Entry, Table
from kdjax.experiment.report_table import Cell, Lines, Measured, Points, ReportTable, gain
from kdjax.experiment.representation import UNPROBED, RepresentationContext
from kdjax.train import Stage

# What leaves a transform of the views of bands out.
OFF: dict[str, dict[str, Any]] = {
    "crop": {"area": (1.0, 1.0), "ratio": (1.0, 1.0)},
    "jitter": {"jitter_p": 0.0},
    "grey": {"grey_p": 0.0},
    "blur": {"blur_p": 0.0},
    "flip": {"flip_p": 0.0},
    "upside": {"upside_p": 0.0},
    "turn": {"turn_p": 0.0},
    "drop": {"drop_p": 0.0},
}
FLOOR = "untrained"
PRECISION = "micro_average_precision"
STUDIES = ("without", "only", "none")


def build(config: Config, table: Table, *, labelled: str) -> Experiment:
    """The encoders of `representation.build`, one by each method; the same net from some of the labels; and one of the methods
    on views that lack a transform each, or have it alone.

    Args:
      config: filled. `config.bands`: how many bands grey images are turned into. `config.transforms`: which transforms, and how.
      table: of the methods by name.
      labelled: the one that learns from labels.
    """
    check_option("--config.views.kind", config.views.kind, lambda kind: kind == "bands", "'bands': no other views have such parts")
    check_option("--config.probe.fractions", tuple(config.probe.fractions), bool, "one part of the labels or more")
    many = tuple(config.methods)
    names = tuple(name for name in many if name != labelled)
    check_option("methods", many, lambda _: names, f"one besides {labelled}")
    dataset = with_bands(load_data(config, labels=False), **plain(config.bands))
    if several := CLASSES in dataset.train.read(np.arange(1)):
        _check_classes(config, dataset, many, labelled)
    section = plain(config.transforms)
    method = section["method"]
    check_option("--config.transforms.method", method, lambda name: name in names, f"one of {', '.join(names)}")
    changed = changed_views(config.views.bands, dataset.shape[-1], section["study"], tuple(section["names"]))
    parts = _parts(config, dataset) if labelled in many else {}
    # Methods that are met again on other views, or with other labels, under names of their own.
    sections, entries = {name: plain(config.methods[name]) for name in names}, dict(table)
    for name, views in changed.items():
        sections[name], entries[name] = {**sections[method], "name": name}, _on_views(table[method], views)
    for name, rows in parts.items():
        sections[name], entries[name] = {**plain(config.methods[labelled]), "name": name}, _on_rows(table[labelled], rows)
    filled = config.copy_and_resolve_references()
    with filled.unlocked():
        filled.methods = sections
    found = representation.build(filled, entries, dataset=dataset)
    fractions, stages = tuple(config.probe.fractions), found.stages
    learnt = {_supervised(part): part for part in fractions if parts}
    compare, result = [(one, other) for one, other in found.compare if one.partition("/")[0] in names], "test_probe_accuracy"
    if several:
        result = f"test_probe_{_percent(max(fractions))}_{PRECISION}"
        compare = [(f"{name}/{result}", f"{FLOOR}/{result}") for name in names]
        by_class = on_several_classes(column=CLASSES, fractions=fractions, draws=config.probe.draws)
        stages = {name: stage._replace(evaluate=all_of(stage.evaluate, by_class)) for name, stage in stages.items()}
    compare += [(f"{method}/{result}", f"{name}/{result}") for name in changed]
    measure = PRECISION if several else "accuracy"
    told = lambda measured, lines: tables(measured, names, method, tuple(changed), learnt, fractions, measure)  # noqa: E731
    own = _told_of_several(found.dataset) if several else found.dataset
    return found._replace(stages=stages, dataset=own, compare=tuple(compare), tables=told)


def with_bands(dataset: Dataset, *, count: int, deviation: float) -> Dataset:
    """A set of grey images as `data.in_bands` has them; one of several bands stays as it is.

    Args:
      dataset: of images.
      count: of bands; 1: grey images stay as they are, too.
      deviation: of the noise.
    """
    check_option("--config.bands.count", count, lambda n: n >= 1, "1 or more")
    check_option("--config.bands.deviation", deviation, lambda v: v >= 0, "a number, 0 or more")
    if dataset.shape[-1] > 1 or count == 1:
        return dataset
    parts = {part: in_bands(getattr(dataset, part), count, deviation=deviation) for part in ("train", "val", "test")
             if getattr(dataset, part) is not None}  # fmt: skip
    digest = hashlib.sha256(f"{dataset.digest} in {count} bands, {deviation}".encode()).hexdigest()
    note = f"grey images in {count} bands, each a fixed linear form of them with noise of {100 * deviation:g}% of the range"
    return dataset._replace(**parts, shape=(*dataset.shape[:-1], count), digest=digest, notes=(*dataset.notes, note))


def acting(views: Mapping[str, Any], bands: int) -> list[str]:
    """Which transforms of the section `views.bands` do anything to images of so many bands.

    >>> from kdjax.experiment.sections import views_section
    >>> acting(views_section("bands")["bands"], 1)
    ['crop', 'jitter', 'blur', 'flip']
    """
    needs = {"grey": bands > 1, "drop": int(views["drop_most"] * bands + 1e-9) > 0}
    return [name for name, off in OFF.items() if needs.get(name, True) and any(views[k] != value for k, value in off.items())]


def changed_views(views: Mapping[str, Any], bands: int, study: str, names: Sequence[str] = tuple(OFF)) -> dict[str, dict[str, Any]]:
    """The options of the views of each further encoder by the name of its stage.

    Args:
      views: the section `views.bands`.
      bands: of the images.
      study: `"without"` leaves out one transform each, `"only"` keeps one each, `"none"` has no such encoder.
      names: of transforms; those that do nothing are passed over.

    Raises:
      InputError: for another study, or transforms that are not known.
    """
    check_option("--config.transforms.study", study, lambda s: s in STUDIES, ", ".join(STUDIES))
    what = f"some of {', '.join(OFF)}, each once"
    check_option("--config.transforms.names", names, lambda n: set(n) <= set(OFF) and len(set(n)) == len(n), what)
    chosen = () if study == "none" else [name for name in acting(views, bands) if name in names]
    left = {name: [name] if study == "without" else [other for other in OFF if other != name] for name in chosen}
    return {f"{study}_{name}": {k: v for other in out for k, v in OFF[other].items()} for name, out in left.items()}


def _on_views(entry: Entry, views: Mapping[str, Any]) -> Entry:
    """A method whose images are seen otherwise."""

    def stages(c: RepresentationContext) -> dict[str, Stage]:
        own = c.config.copy_and_resolve_references()
        own.views.bands.update(views)
        return stages_of(replace(c, entry=entry, config=own))

    return Entry(entry.method, stages=stages)


def _on_rows(entry: Entry, rows: np.ndarray) -> Entry:
    """A method that learns from some rows, for as many steps."""

    def stages(c: RepresentationContext) -> dict[str, Stage]:
        part = subset(c.source, rows)
        made = stages_of(replace(c, entry=entry, source=part))
        return {name: stage._replace(batch=min(stage.batch, part.size)) for name, stage in made.items()}

    return Entry(entry.method, stages=stages)


def _check_classes(config: Config, dataset: Dataset, methods: Sequence[str], labelled: str) -> None:
    """Refuses what does not fit images of several classes."""
    what = f"none that is {labelled}, for these images have several classes each"
    check_option("methods", tuple(methods), lambda names: labelled not in names, what)
    for part, source in (("train", dataset.train), ("test", dataset.test)):
        found = source.read(np.arange(source.size)).get(CLASSES, np.zeros(0))
        fits = found.ndim == 2 and bool(np.isin(found, (0, 1)).all()) and bool(found.any())
        check_option("--config.data.source", config.data.source, lambda _, fits=fits: fits, f"{part}_{CLASSES} [N, K] of 0 and 1")
    enough = lambda parts: all(0 < part <= 1 and round(part * dataset.train.size) > 1 for part in parts)  # noqa: E731
    check_option("--config.probe.fractions", tuple(config.probe.fractions), enough, "parts of two images or more, at most 1")


def _told_of_several(dataset: Dataset) -> Dataset:
    """What is said of its labels, which are no classes of whole images: that these are probed all the same."""
    told = "images have several classes each: linear probes are scored by average precision, and kNN is left out"
    return dataset._replace(notes=tuple(told if note == UNPROBED else note for note in dataset.notes))


def _parts(config: Config, dataset: Dataset) -> dict[str, np.ndarray]:
    """The training rows of each part of the labels by the name of the stage that learns from them."""
    labels = dataset.train.labels()
    rows = probed_rows(labels, dataset.test.labels())
    known = np.zeros(0, int) if rows is None or rows.halved else rows.known
    what = "a set with labels of training images, or methods without one that learns from them"
    check_option("--config.data.source", config.data.source, lambda _: known.size, what)
    try:
        return {_supervised(part): known[label_fraction(labels[known], part, 0)] for part in config.probe.fractions}
    except InputError as error:
        raise InputError(f"--config.probe: {error}") from None


def tables(
    measured: Measured,
    methods: Sequence[str],
    method: str,
    changed: Sequence[str],
    learnt: Mapping[str, float],
    parts: Sequence[float],
    measure: str = "accuracy",
) -> list[ReportTable]:
    """What probes reach by the part of the labels, for each method and the net that learns from these labels; and by transforms.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      methods: the stages of encoders that learnt without labels.
      method: the one that was met again on other views.
      changed: the stages of these, `"without_<transform>"` or `"only_<transform>"`.
      learnt: the stages that learnt from labels, with the part of them.
      parts: of the labels, as the probes have them.
      measure: of a probe.
    """

    def probe(stage: str, what: str = "probe") -> dict[float, list[float]]:
        return {part: list(measured.get(stage, {}).get(f"test_{what}_{_percent(part)}_{measure}", ())) for part in parts}

    untrained, whole = probe(FLOOR), probe(method)
    head = {part: list(measured.get(stage, {}).get("test_online_probe_accuracy", ())) for stage, part in learnt.items()}
    supervised = {part: probe(stage)[part] for stage, part in learnt.items()}
    lines = {"raw pixels": probe(FLOOR, "pixels_probe"), FLOOR: untrained, **{name: probe(name) for name in methods}}
    lines = {
        name: own for name, own in (lines | {"supervised": head, "supervised, probed": supervised}).items() if any(own.values())
    }
    if not lines:
        return []
    rows: dict[str, dict[str, Cell]] = {}
    for name, own in lines.items():
        rows[name] = {f"{100 * part:g}% of the labels, %": values for part, values in own.items()}
        for title, others in ((FLOOR, untrained), ("supervised, probed", supervised)) if name in methods else ():
            gains = {f"{100 * part:g}%: over {title}": gain(own[part], others.get(part, ())) for part in parts}
            rows[name] |= {column: cell for column, cell in gains.items() if cell}
    note = "Encoders are frozen, and a linear probe learns from a part of the labels; the mean over draws of it. "
    if learnt:
        note += "'supervised' is the same net, trained from these labels alone (of the first draw) for as many steps on the same "
        note += "views, as its own head tells the classes of plain images, and as a probe on its features does. "
    note += "Gains: mean difference in points with its 95% interval, paired by seed."
    at = sorted(parts)
    drawn = {name: [own[part] for part in at] for name, own in lines.items()}
    told = measure.replace("_", " ")
    plot = Lines("labels, %", f"test {told}, %", [100 * part for part in at], drawn, logarithmic=True)
    seen = {"all transforms": whole, FLOOR: untrained}
    seen |= {name.replace("_", " "): own for name in changed if any((own := probe(name)).values())}
    labels = ReportTable("labels", f"{told.capitalize()} by the part of the labels", rows, 2, note, plot)
    return [labels, _by_transforms(seen, method, at)] if len(seen) > 2 else [labels]


def _by_transforms(seen: Mapping[str, Mapping[float, list[float]]], method: str, at: Sequence[float]) -> ReportTable:
    """Of probes by the transforms of the views, then by the part of the labels."""
    rows: dict[str, dict[str, Cell]] = {}
    for number, (name, own) in enumerate(seen.items()):
        rows[name] = {f"{100 * part:g}% of the labels, %": own[part] for part in at}
        if number > 1:
            rows[name] |= {f"{100 * part:g}%: all over it": gain(seen["all transforms"][part], own[part]) for part in at}
    note = (
        f"A linear probe on encoders by {method!r}, on views of which a transform is left out, or that have it alone. All over it: "
    )
    note += "by how many points the probe is better where views have all transforms, with its 95% interval, paired by seed."
    means = {name: (float(np.mean(own[at[0]])), float(np.mean(own[at[-1]]))) for name, own in seen.items() if all(own.values())}
    few, most = (f"probe on {100 * part:g}% of the labels, %" for part in (at[0], at[-1]))
    return ReportTable("transforms", "Which transforms matter", rows, 2, note, Points(few, most, {"": means}))


def _percent(part: float) -> str:
    return f"{100 * part:g}_percent"


def _supervised(part: float) -> str:
    """The stage that learns from a part of the labels."""
    return f"supervised_{_percent(part)}"
