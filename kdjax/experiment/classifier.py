"""A network that learns classes from images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from kdjax import methods, models
from kdjax.core import Method, Net
from kdjax.evaluate.classifier import classification
from kdjax.experiment.context import Context, make_stage
from kdjax.experiment.data import augmentation, sampler, view
from kdjax.experiment.entry import Entry
from kdjax.experiment.mixing import Words, erased, on_mixed_images
from kdjax.train import Stage


def supervised(c: "ClassifierContext") -> Method:
    """A network that learns from labels alone."""
    return methods.supervised(c.network, c.tx, **c.options)


ALONE = Entry(methods.supervised, supervised)


@dataclass(frozen=True, kw_only=True)
class ClassifierContext(Context):
    """What a classifier is trained from: labels alone, where nothing else is said.

    Attributes:
      entry: as of `Context`, like `settings`.
      method: the name of the method, for the records.
      words: what changes its images, by the words of `experiment.words`, each with its options.
    """

    entry: Entry = ALONE
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = "supervised"
    words: Words = field(default_factory=dict)

    @property
    def network(self) -> Net:
        """The net."""
        return self.trained_net(self.specification)

    def trained_net(self, specification: dict) -> Net:
        """The net of a specification as it is trained: one that mixes inside, where a word asks for it."""
        net = self.build(specification)
        return models.mixing_inside(net, axis_name=self.axis_name) if "manifold_mixup" in self.words else net

    @property
    def erased(self) -> tuple[Callable, ...]:
        """Transforms of each image beside those of the data section."""
        return erased(self.words, self.mean) if self.words else ()

    def first(self, builder: Callable[..., Method], options: Mapping[str, Any], make: Callable) -> Self:
        """As `Context.first`, on images that are not mixed."""
        return replace(super().first(builder, options, make), words={})

    def stage(
        self,
        make: Callable[..., Any] | None = None,
        *,
        nets: Mapping[str, dict] | None = None,
        grid: Mapping[str, Sequence[float]] | None = None,
        **fields: Any,
    ) -> dict[str, Stage]:
        """One stage by its name.

        Args:
          make: `c -> Method`, or `c -> (Method, augmentation)`; None: that of the entry.
          nets: specifications of the networks it trains, by name; None: the one.
          grid: values to try by name, the learning rate or options of the method; validation images choose.
          **fields: others of `Stage` than those of all classifiers.
        """
        images = self.config.data
        seen = view(images.crop)
        nets = {"network": self.specification} if nets is None else nets
        usual = {
            "batch": min(images.batch, self.source.size),
            "about": {
                "training": dict(self.training), "method": "+".join((self.method, *self.words)), **self.settings, **self.words,
                "labels_per_class": self.config.get("labels_per_class", 0),
            },
            "nets": nets,
            "source": self.source,
            "sampler": sampler(self.config, self.source),
            "augment": augmentation(images, self.dataset, *self.erased),
            "view": lambda batch: seen(batch["image"]),
            "evaluate": classification,
            "score": "accuracy",
        }  # fmt: skip
        if self.words and (asked := make or self.entry.make):
            make = on_mixed_images(self, asked, "sampler" in fields)
        return {self.name: make_stage(self, make, grid=grid, **(usual | fields))}
