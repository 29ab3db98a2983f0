"""The tasks that encoders are taken to: the set itself, altered forms and parts of it, other sets."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from kdjax import data
from kdjax.core import InputError, check_option
from kdjax.data.alter import ALTERATIONS
from kdjax.data.load import FORMS
from kdjax.evaluate.encoder import check_representation
from kdjax.experiment.config import Config

ORIGINAL = "original"
ACCEPTED = (
    f"{ORIGINAL}, {', '.join(ALTERATIONS)}, classes as 0-4, long_tailed:0.05, or another set as {', '.join(FORMS)}; "
    "with + changes one after another, as inverted+0-4"
)
_TAIL = re.compile(r"long_tailed:(\d*\.?\d+)")


class Task(NamedTuple):
    """Images with labels, some to learn from and some to be scored on.

    Attributes:
      name: for measures, stages and splits.
      title: for readers.
      train: rows to learn from.
      test: rows to be scored on.
      classes: how many there are.
      digest: of the rows.
    """

    name: str
    title: str
    train: data.Source
    test: data.Source
    classes: int
    digest: str


def read_tasks(texts: Sequence[str], dataset: data.Dataset, section: Config, field: str) -> list[Task]:
    """The tasks that a field of the config names, their images of the shape of the set's.

    A task is the set itself, `"original"`, or another one by its source, brought to the set's size and channels; changed by any
    of `data.alter` and by ranges of classes, which count from 0 anew: `"rotated"`, `"0-4"`, `"npz:letters.npz+inverted+5-9"`.
    `"long_tailed:0.05"` leaves ever fewer rows to learn from, class by class, as `data.long_tailed` has it; those to be scored on
    stay.

    Args:
      texts: one a task.
      dataset: the set.
      section: `data` of the config, for how sets are read and split.
      field: of the config, for messages.

    Raises:
      InputError: one line that names the field, for a task that is not known, comes twice, does not fit or has rows without a
        label.
    """
    tasks = []
    for text in texts:
        try:
            tasks.append(_read(text, dataset, section))
        except InputError as error:
            raise InputError(f"{field}: {error}") from None
    names = [task.name for task in tasks]
    check_option(field, tuple(texts), lambda texts: texts and len(set(names)) == len(names), "one task or more, each once")
    return tasks


def splits_of(tasks: Sequence[Task]) -> dict[str, data.Source]:
    """The rows of tasks by the names that `evaluate.tasks.on_task` asks for."""
    return {f"{task.name}/{part}": getattr(task, part) for task in tasks for part in ("train", "test")}


def check_tasks(tasks: Sequence[Task], field: str, section: Mapping[str, Any]) -> None:
    """Refuses options of `evaluate.tasks.on_task` that do not fit the rows, before anything is trained.

    Args:
      tasks: that are measured.
      field: of the config, for messages.
      section: the options.

    Raises:
      InputError: one line that names the option and the task.
    """
    own = {name: section[name] for name in ("neighbours", "episodes", "ways", "shots", "queries")}
    check_option(f"{field}.per_class", section["per_class"], lambda n: n == 0 or n >= 2, "2 or more, or 0 for all labels")
    check_option(f"{field}.draws", section["draws"], lambda n: n >= 1, "1 or more")
    check_option(f"{field}.neighbours", section["neighbours"], lambda n: n >= 1, "1 or more")
    for task in tasks:
        try:
            check_representation(task.train.labels(), task.test.labels(), per_class=section["per_class"] or 2, **own)
        except InputError as error:
            raise InputError(f"{field}: task {task.title!r}: {error}") from None


def _read(text: str, dataset: data.Dataset, section: Config) -> Task:
    changes = text.split("+")
    kept = next((k for k in range(len(changes), 0, -1) if not _is_change(changes[k - 1])), 0)
    place, changes = "+".join(changes[:kept]), changes[kept:]
    if place in ("", ORIGINAL) and text:
        found, words = dataset, [] if changes else [ORIGINAL]
    else:
        kind = place.partition(":")[0]
        check_option("task", text, lambda _: kind in {form.partition(":")[0] for form in FORMS}, ACCEPTED)
        found, words = _other_set(place, dataset, section), [_stem(place)]
    train, test, classes, words = found.train, found.test, found.classes, words + [_in_words(change) for change in changes]
    for change in changes:
        if change in ALTERATIONS:
            train, test = (data.alter(source, change) for source in (train, test))
            continue
        if tail := _TAIL.fullmatch(change):
            train = data.subset(train, data.long_tailed(train.labels(), float(tail[1]), section.seed))
            continue
        first, last = map(int, change.split("-"))
        check_option("classes", change, lambda _: first < last < classes, f"two or more of 0-{classes - 1}")  # noqa: B023
        train, test = (data.keep_classes(source, first, last + 1) for source in (train, test))
        classes = last + 1 - first
    for source in (train, test):
        labels = source.labels()
        check_option("task", text, lambda _: labels.size and labels.min() >= 0, "images that all have labels")  # noqa: B023
    drawn = f" of seed {section.seed}" if any(map(_TAIL.fullmatch, changes)) else ""
    digest = hashlib.sha256(f"{found.digest} {' '.join(changes)}{drawn}".encode()).hexdigest()
    title = " ".join(words)
    return Task(re.sub(r"\W+", "_", title).strip("_"), title, train, test, classes, digest)


def _other_set(place: str, dataset: data.Dataset, section: Config) -> data.Dataset:
    height, width, channels = dataset.shape
    found = data.load(
        place, val_fraction=section.val_fraction, seed=section.seed, image_size=height if height == width else None,
        directory=section.dir, reader=section.reader, corrupt=section.corrupt, workers=section.workers,
    )  # fmt: skip
    there = "x".join(map(str, found.shape[:2]))
    check_option("task", place, lambda _: found.shape[:2] == (height, width), f"images of {height}x{width}, not of {there}")
    train, test = (data.with_channels(source, channels) for source in (found.train, found.test))
    return found._replace(train=train, test=test)


def _is_change(word: str) -> bool:
    return word in ALTERATIONS or any(re.fullmatch(form, word) for form in (r"\d+-\d+", _TAIL))


def _in_words(change: str) -> str:
    if tail := _TAIL.fullmatch(change):
        return f"long-tailed {tail[1]}"
    return change if change in ALTERATIONS else f"classes {change}"


def _stem(place: str) -> str:
    """What a source is called: its kind, or the last part of its path or name."""
    kind, _, rest = place.partition(":")
    if kind == "tfds":
        rest = rest.partition(":")[0]
    return PurePath(rest).stem if rest else kind
