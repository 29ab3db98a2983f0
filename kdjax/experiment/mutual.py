"""The experiment of networks that learn side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kdjax import models
from kdjax.core import Method, Net, pick
from kdjax.evaluate.peers import classification_of_peers
from kdjax.experiment import self_distillation
from kdjax.experiment.classifier import ClassifierContext
from kdjax.experiment.config import Config, plain
from kdjax.experiment.context import Experiment, stages_of
from kdjax.experiment.data import own_views
from kdjax.experiment.entry import Table
from kdjax.experiment.mixing import with_words
from kdjax.experiment.sections import swept
from kdjax.train import Stage

INDEPENDENT = "independent"  # the method whose peers do not imitate


def build(config: Config, table: Table) -> Experiment:
    """As `self_distillation.build`, a stage of peers by each method.

    Beside a student alone each is held against the peers that do not imitate, where there are some: the mean over peers, and their
    ensemble.

    Args:
      config: filled.
      table: of the methods by name.
    """
    found = self_distillation.build(config, table, taught=peer_stages)
    if INDEPENDENT not in found.stages:
        return found
    others = [name for name in config.methods if name != INDEPENDENT]
    results = ("test_mean_accuracy", "test_ensemble_accuracy")
    against = tuple((f"{name}/{result}", f"{INDEPENDENT}/{result}") for name in others for result in results)
    return found._replace(compare=found.compare + against)


@dataclass(frozen=True, kw_only=True)
class PeerContext(ClassifierContext):
    """What peers are made from: `config.peers` nets like the student's, each with a start of its own."""

    @property
    def peers(self) -> list[Net]:
        """What is trained; the first is shipped."""
        return [self.network] * self.config.peers

    @property
    def branches(self) -> list[Net]:
        """Classifiers of class and rotation behind the stages of each."""
        return [models.branches(self.specification, axis_name=self.axis_name)] * self.config.peers

    @property
    def views(self) -> Callable:
        """The augmentation that gives each peer a view of its own."""
        return own_views(self.config.data, self.dataset, self.config.peers, *self.erased)

    def stage(self, make: Callable[..., Any] | None = None, **fields: Any) -> dict[str, Stage]:
        """One stage by its name.

        Args:
          make: `c -> Method`, or `c -> (Method, augmentation)`; None: that of the entry.
          **fields: others of `Stage` than those of all classifiers.
        """
        nets = {f"peer{k}": self.specification for k in range(self.config.peers)}
        usual = {"grid": swept(self.config.sweep, self.settings), "nets": nets, "evaluate": classification_of_peers}
        return super().stage(make, **usual | fields)


def peer_stages(name: str, section: Config, table: Table, shared: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of peers by one method.

    Args:
      name: of the last one.
      section: the method's name and options.
      table: of the methods by name.
      shared: the other fields of a `PeerContext`.
    """
    method, settings, words = with_words(plain(section), table)
    entry = pick("method", method, table)
    entry = entry._replace(make=entry.make or side_by_side)
    return stages_of(PeerContext(name=name, method=method, entry=entry, settings=settings, words=words, **shared))


def side_by_side(c: PeerContext) -> Method:
    """The usual method: the peers on the same images."""
    return c.entry.method(c.peers, c.tx, **c.options)
