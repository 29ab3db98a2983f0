"""The experiment of an encoder that learns without labels, and is probed with few."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from kdjax import augment, models
from kdjax.core import InputError, Net, check_option, pick
from kdjax.data import Dataset
from kdjax.evaluate.encoder import COLLAPSE, Probed, check_representation, probed_rows, representation
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Context, Experiment, context_fields, make_stage, stages_of
from kdjax.experiment.data import load_data, sampler, seen_shape, view
from kdjax.experiment.entry import Table, check_accumulation
from kdjax.experiment.nets import net_specification
from kdjax.experiment.sections import VIEWS
from kdjax.train import Result, Stage

UNPROBED = "no labels of two classes: the probe and kNN are left out, and only the spread of the features is measured"


@dataclass(frozen=True, kw_only=True)
class RepresentationContext(Context):
    """What an encoder is trained from.

    Attributes:
      probed: the images whose labels the measures know, or None.
    """

    probed: Probed | None

    @property
    def probe(self) -> Net | None:
        """A linear classifier that is trained alongside as a monitor, or None."""
        return models.linear_head(self.dataset.classes) if self.probed and not self.probed.halved else None

    @property
    def encoder(self) -> Net:
        """The net."""
        return self.build(self.specification)

    def mlp_head(self, hidden: int = 0, **options: Any) -> Net:
        """A projector or predictor, as wide as the section `head` has it; options as in `models.mlp_head`."""
        head = self.config.head
        options = {"dtype": models.DTYPES[self.config.precision], "axis_name": self.axis_name} | options
        return models.mlp_head(hidden or head.hidden, head.out, **options)

    def predictor(self, hidden: int = 0, **options: Any) -> Net:
        """A predictor, hidden as wide as the section `head` has it, else `hidden`, else as the projector."""
        return self.mlp_head(self.config.head.predictor_hidden or hidden, **options)

    def two_views(self, *, geometry: bool = False) -> Callable:
        """The two views of an image, as the section `views` has them; with `geometry` also where their pixels come from."""
        return augment.views(*self.pair(), geometry=geometry)

    def multi_crop(self, large: int = 2) -> Callable:
        """Large views, those of the pair in turn, then the small ones; where images have masks, also their geometry."""
        pair = self.pair()
        chosen = augment.multi_crop(tuple(pair[k % 2] for k in range(large)), self._small(), self.config.views.small.count)
        return augment.views(*chosen, geometry="mask" in self.source.read(np.arange(1)))

    def strong_and_weak(self) -> Callable:
        """A view, and a weak one."""
        return augment.views(self.pair()[0], self.weak())

    def weak(self) -> Callable:
        """The transform of a weak view: crop and flip, or with grey images the affine map alone."""
        kind, section = self._views()
        if kind == "affine":
            return augment.grey_views(**{**section, "noise": 0.0, "blur_p": 0.0})[0]
        kept = {k: section[k] for k in ("area", "ratio", "method", "antialias", "flip_p")}
        return augment.crop_flip_view(self._side, **kept)

    def _views(self) -> tuple[str, dict]:
        section = self.config.views
        return section.kind, pick("--config.views.kind", section.kind, {kind: dict(section[kind]) for kind in VIEWS})

    @property
    def _side(self) -> tuple[int, int]:
        return tuple(seen_shape(self.config.data, self.dataset)[:2])  # type: ignore[return-value]

    def pair(self) -> tuple[Callable, ...]:
        """The transforms of the two views."""
        kind, section = self._views()
        return augment.grey_views(**section) if kind == "affine" else VIEWS[kind](self._side, **section)

    def _small(self) -> Callable:
        """A part of the image at a smaller size; else as the first of the pair."""
        kind, section = self._views()
        small = self.config.views.small
        side = small.size or max(min(self._side) * 3 // 7, 1)  # 96 of 224
        most = min(self._side)
        accepted = f"1 to {most}, the side of the large views, or 0 for 3/7 of it"
        check_option("--config.views.small.size", side, lambda n: 1 <= n <= most, accepted)
        if kind != "affine":
            return VIEWS[kind](side, **{**section, "area": small.area})[0]
        crop = partial(augment.random_resized_crop, size=side, area=small.area)
        return augment.compose(augment.grey_views(**section)[0], crop)

    def stage(self, make: Callable[..., Any] | None = None, **fields: Any) -> dict[str, Stage]:
        """One stage by its name.

        Args:
          make: `c -> Method`, or `c -> (Method, augmentation)`; None: that of the entry.
          **fields: others of `Stage` than those of all encoders.
        """
        seen = view(self.config.data.crop)
        usual = {
            "batch": self.config.data.batch,
            "about": {"training": dict(self.training), "method": self.entry.method.__name__, **self.settings},
            "nets": {"encoder": self.specification},
            "source": self.source,
            "sampler": sampler(self.config, self.source),
            "view": lambda batch: seen(batch["image"]),
            "evaluate": representation(**self.config.probe, images=self.dataset),
            "alarms": COLLAPSE,
            "score": "probe_accuracy" if self.probed else "rank_me",
        }
        return {self.name: make_stage(self, make, **(usual | fields))}


def as_online(state: Any, result: Result, member: int) -> Any:
    """The State of a method of views whose online nets start as an earlier stage left them (`Stage.warm_start`)."""
    each = {name: jax.tree.map(lambda x: x[member], result.weights[name]) for name in state.online.params}
    found = {part: {name: one[part] for name, one in each.items()} for part in ("params", "stats")}
    return state._replace(online=state.online.replace(**found))


def build(config: Config, table: Table, *, dataset: Dataset | None = None) -> Experiment:
    """The encoder before training, its batch statistics taken from the images, and after it.

    `config.method` trains one, `encoder`. `config.methods` trains one by each method, under its name; the run goes on without those
    that diverge.

    Args:
      config: filled.
      table: of the methods by name.
      dataset: the images; None: those that the config names.
    """
    training, many = plain(config.encoder_training), "methods" in config
    check_option("--config.select", config.select, lambda s: s == "last", "'last': without labels there is no validation accuracy")
    sections = {name: plain(section) for name, section in (config.methods.items() if many else [("encoder", config.method)])}
    entries = {name: pick("method", section.pop("name"), table) for name, section in sections.items()}
    for entry in entries.values():
        check_accumulation(entry, "encoder_training", training["micro"])
    dataset = dataset or load_data(config, labels=False)
    labels = dataset.train.labels()
    probed = probed_rows(labels, dataset.test.labels())
    if probed:  # what the measures would refuse after training
        try:
            known = (dataset.test.labels() if probed.halved else labels)[probed.known]
            check_representation(known, dataset.test.labels()[probed.scored], **config.probe)
        except InputError as error:
            raise InputError(f"--config.probe: {error}") from None
    dataset = dataset._replace(notes=(*dataset.notes, *_told(probed, dataset)))
    first = next(iter(entries))
    specification = net_specification(config.encoder_training.net, dataset, config, classes=0)
    c = RepresentationContext(
        name="untrained", entry=entries[first], settings=sections[first], probed=probed,
        **context_fields(config, dataset, config.encoder_training, specification=specification),
    )  # fmt: skip
    # At rate 0 its batch statistics settle and its weights stay.
    still = {**training, "epochs": 5, "optimiser": {**training["optimiser"], "learning_rate": 0.0, "warmup_epochs": 0.0}}
    # Of several stages the last one alone, which starts from nothing.
    stages = {c.name: stages_of(replace(c, training=still))[c.name]._replace(warm_start=None, warm_start_from="")}
    for name, entry in entries.items():
        made = stages_of(replace(c, name=name, entry=entry, settings=sections[name]))
        stages |= {stage: one._replace(optional=True) for stage, one in made.items()} if many else made
    floors = "untrained/test_probe_accuracy", "untrained/test_pixels_probe_accuracy"
    pairs = tuple((f"{name}/test_probe_accuracy", floor) for name in entries for floor in floors)
    pairs += tuple(
        (f"{name}/test_probe_accuracy", f"{one.warm_start_from}/test_probe_accuracy")
        for name, one in stages.items()
        if one.warm_start_from
    )
    return Experiment(stages, dataset, pairs if probed else ())


def _told(probed: Probed | None, dataset: Dataset) -> tuple[str, ...]:
    """What is to be known of a probe whose labels are not those of all training images."""
    if probed is None:
        return (UNPROBED,)
    if probed.halved:
        parted = f"probe and kNN learn from {len(probed.known)} of the test images and are scored on the other {len(probed.scored)}"
        return (f"training images have no labels: {parted}",)
    if len(probed.known) < dataset.train.size:
        return (f"{len(probed.known)} of {dataset.train.size} training images have labels: probe and kNN learn from these",)
    return ()
