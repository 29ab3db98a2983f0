"""The experiment of what goes from easy to hard and back, each beside constants."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kdjax import methods
from kdjax.core import Method, check_option, cyclic, pick
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, by_accuracy
from kdjax.experiment.data import load_data
from kdjax.experiment.entry import Entry
from kdjax.experiment.optimiser import make_optimiser
from kdjax.experiment.self_distillation import shared_fields
from kdjax.train import Stage

PARTS = ("weight_decay", "temperature", "clip", "hard")


def build(config: Config) -> Experiment:
    """A net by each part of `config.parts`: cyclic, at the constant of equal mean, and at the best constant by validation.

    `plain` has none of them; `all_cyclic` has all that are asked for, if more than one is. Every net learns in the same steps.

    Args:
      config: filled; `config.ranges` has `(min, max)` of each part, `config.constants` the values to choose from.
    """
    dataset = load_data(config)
    ranges, constants = plain(config.ranges), plain(config.constants)
    parts = tuple(config.parts)
    for part in parts:
        pick("parts", part, dict.fromkeys(PARTS))
    check_option("--config.parts", parts, lambda found: found and len(set(found)) == len(found), "parts, each once")
    check_option("--config.cycle", config.cycle, lambda c: c >= 1, "a number, at least 1")
    for part in parts:
        span = "(min, max) with 0 <= min <= max"
        check_option(f"--config.ranges.{part}", tuple(ranges[part]), lambda s: len(s) == 2 and 0 <= s[0] <= s[1], span)
        check_option(f"--config.constants.{part}", tuple(constants[part]), bool, "numbers to choose from, one or more")
    entry = Entry(methods.cyclical, _make)
    c = ClassifierContext(name="plain", method="cyclical", entry=entry, settings={}, **shared_fields(config, dataset))
    mean = float(np.mean([1 - cyclic(e, c.epochs, factor=config.cycle) for e in range(c.epochs)]))

    def one(name: str, settings: Mapping[str, Any], **fields: Any) -> dict[str, Stage]:
        return replace(c, name=name, settings={"cycle": config.cycle, **settings}).stage(**fields)

    stages, compare = one("plain", {}), []
    for part in parts:
        low, high = ranges[part]
        grid = tuple(constants[part])
        own = {
            **one(f"{part}_cyclic", {part: (low, high)}),
            **one(f"{part}_mean", {part: (low + mean * (high - low),) * 2}),
            **one(f"{part}_best", {part: grid[0]}, grid={part: grid}),
        }
        stages |= own
        compare += [(f"{part}_cyclic", other) for other in (f"{part}_mean", f"{part}_best", "plain")]
    if len(parts) > 1:
        stages |= one("all_cyclic", {part: tuple(ranges[part]) for part in parts})
        compare.append(("all_cyclic", "plain"))
    return Experiment(stages, dataset, by_accuracy(compare))


def _make(c: ClassifierContext) -> Method:
    """A pair is a range, one number a constant."""
    pair = {part: v if isinstance(v, tuple | list) else (v, v) for part, v in c.settings.items() if part in PARTS}
    optimiser = {**c.training["optimiser"], "cycle": c.settings["cycle"]}
    optimiser |= {f"{part}_range": pair[part] for part in ("weight_decay", "clip") if part in pair}
    tx = make_optimiser(optimiser, c.steps, c.steps_per_epoch)
    own = {part: pair[part] for part in ("temperature", "hard") if part in pair}
    known = {"steps_per_epoch": c.steps_per_epoch, "epochs": c.epochs, "axis_name": c.axis_name, "micro": c.micro}
    return methods.cyclical(c.network, tx, focal="hard" in pair, cycle=c.settings["cycle"], **own, **known)
