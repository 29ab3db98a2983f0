"""A phase of an experiment, and what is left of it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.augment import on_images
from kdjax.core import Frozen, Method
from kdjax.data import Source


class Pace(NamedTuple):
    """When things happen, at absolute steps: so a resumed run compiles the same blocks.

    Attributes:
      block: steps in one compiled program, and between two log points.
      evaluate: steps between evaluations; a multiple of `block`.
      save: steps between checkpoints; a multiple of `evaluate`.
    """

    block: int
    evaluate: int
    save: int


class Stage(NamedTuple):
    """One method, run for a number of steps. Two-stage methods, teachers and generations are lists of stages.

    Attributes:
      method: what is run.
      steps: optimisation steps.
      batch: rows a step, over all devices.
      pace: log, evaluation and save points.
      recipe: JSON values that, with the weights given, fix the result: the stage's part of its fingerprint.
      nets: network name -> the specification `models.build` makes it from (`{"name", ...}`), for `kdjax.load`.
      source: rows to learn from; None for a data-free stage, whose batch holds only row numbers.
      augment: `(keys [B], batch) -> batch`.
      evaluate: `(collect, split, final) -> {measure: [members]}`.
      given: `results of earlier stages -> {name: Frozen}`.
      adopt: `(state, results) -> state`: where a member starts from weights of an earlier stage.
      refresh: `(state, step, key) -> state` of one member, every `refresh_every` steps (k-means, prototypes, banks); host code
        is fine.
      refresh_every: a multiple of `pace.block`; 0 is never.
      members: how many are trained side by side.
      hyper: swept values by name, `[members]` each, for a method made by `sweep`.
      picture: `(state of one member, key) -> images [N, H, W, C]` to look at, or None.
    """

    method: Method
    steps: int
    batch: int
    pace: Pace
    recipe: dict
    nets: Mapping[str, dict]
    source: Source | None
    evaluate: Callable[..., dict[str, np.ndarray]]
    augment: Callable = on_images()
    given: Callable[[dict], dict[str, Frozen]] = lambda results: {}
    adopt: Callable[[Any, dict], Any] | None = None
    refresh: Callable | None = None
    refresh_every: int = 0
    members: int = 1
    hyper: Mapping[str, Any] | None = None
    picture: Callable | None = None


class Result(NamedTuple):
    """What a finished stage leaves to later ones.

    Attributes:
      weights: `{network: {"params", "stats"}}`, every array with a leading axis of members.
      measures: final measures, `[members]` each.
      digest: sha256 of the weights.
      step: the step they were taken at.
      picture: images to look at, or None.
    """

    weights: dict[str, dict]
    measures: dict[str, list[float]]
    digest: str
    step: int
    picture: Any = None

    def frozen(self, network: str | None = None, member: int = 0) -> Frozen:
        """One member's network for a later stage; the first network if none is named."""
        chosen = self.weights[network or next(iter(self.weights))]
        one = jax.tree.map(lambda x: x[member], chosen)
        return Frozen(one["params"], one["stats"], f"{self.digest}/{network}/{member}")
