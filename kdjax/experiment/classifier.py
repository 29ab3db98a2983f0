"""A network that learns classes from images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdjax.core import Net
from kdjax.evaluate.classifier import classification
from kdjax.experiment.context import Context, make_stage
from kdjax.experiment.data import augmentation, sampler, view
from kdjax.train import Stage


@dataclass(frozen=True, kw_only=True)
class ClassifierContext(Context):
    """What a classifier is trained from.

    Attributes:
      method: the name of the method, for the records.
    """

    method: str

    @property
    def network(self) -> Net:
        """The net."""
        return self.build(self.specification)

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
                "training": dict(self.training), "method": self.method, **self.settings,
                "labels_per_class": self.config.get("labels_per_class", 0),
            },
            "nets": nets,
            "source": self.source,
            "sampler": sampler(self.config, self.source),
            "augment": augmentation(images, self.dataset),
            "view": lambda batch: seen(batch["image"]),
            "evaluate": classification,
            "score": "accuracy",
        }  # fmt: skip
        return {self.name: make_stage(self, make, grid=grid, **(usual | fields))}
