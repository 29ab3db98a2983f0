"""The tables of methods that learn invariance: what each encoder is worth, and what every single change makes of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.experiment.report_table import Cell, Measured, Points, ReportTable, gain

FLOOR = "untrained"
METHODS = {"moco": "MoCo v2", "moco_v2_plus": "MoCo v2+", "s_moco_v2_plus": "S-MoCo v2+", "byol": "BYOL"}
OVER = (("moco_v2_plus", "moco"), ("s_moco_v2_plus", "moco_v2_plus"), ("byol", "moco_v2_plus"))


class Arm(NamedTuple):
    """One encoder of the comparison.

    Attributes:
      method: by name.
      optimiser: by name.
      views: the set of augmentations, by name.
    """

    method: str
    optimiser: str
    views: str

    @property
    def name(self) -> str:
        """Of its stage."""
        return "_".join(self)

    def title(self, *but: str) -> str:
        """What it is, without some of its fields."""
        each = {
            "method": METHODS.get(self.method, self.method),
            "optimiser": self.optimiser.upper(),
            "views": f"{self.views} views",
        }
        return ", ".join(word for field, word in each.items() if field not in but)


Columns = Mapping[str, Mapping[str, Sequence[float]]]  # title -> stage -> one number a seed


def tables(measured: Measured, arms: Sequence[Arm], reference: str, task: str, title: str) -> list[ReportTable]:
    """What each encoder is worth, and gains by the method, the optimiser, NormRescale and the augmentations, paired by seed.

    Args:
      measured: `{stage: {measure: one number a seed}}`; besides the stages of arms `<name>_tuned` and `<name>_rescaled`.
      arms: in the order of the rows.
      reference: the optimiser that others are held against, and that NormRescale takes lengths from.
      task: name of the task that encoders are fine-tuned on.
      title: of it.
    """

    def column(measure: str, of: str = "") -> dict[str, Sequence[float]]:
        names = [FLOOR, *(arm.name for arm in arms)]
        found = {name: measured.get(f"{name}{of}", {}).get(f"test_{measure}", ()) for name in names}
        return {name: list(values) for name, values in found.items() if len(values)}

    tuned, rescaled = column("accuracy", "_tuned"), column("accuracy", "_rescaled")
    kinds = {"probe": column("probe_accuracy"), "kNN": column("knn_accuracy"), f"{title}: probe": column(f"{task}_probe_accuracy")}
    kinds |= {f"{title}: fine-tuned": tuned}
    arms = [arm for arm in arms if arm.name in kinds["probe"]]
    if not arms:
        return []
    alike = ("views",) if len({arm.views for arm in arms}) == 1 else ()  # what is no news in a row
    others = {"rescaled and fine-tuned, %": rescaled, "length of kernels": column("kernel_length")}
    shown = {f"{kind}, %": values for kind, values in kinds.items()} | others
    said = {FLOOR: FLOOR} | {arm.name: arm.title(*alike) for arm in arms}
    rows = {row: {kind: values.get(name, ()) for kind, values in shown.items()} for name, row in said.items()}
    points = {
        said[arm.name]: (float(np.mean(kinds["probe"][arm.name])), float(np.mean(tuned[arm.name])))
        for arm in arms
        if arm.name in tuned
    }
    plot = Points("linear probe, %", f"fine-tuned on {title}, %", {"": points}) if points else None
    note = (
        "Probe: on few labels of the images that the encoder learnt from, where it stays as it is. Nets, images, steps and batch "
    )
    note += "are the same for all; the rate of each is that of the best probe on validation images. Test images are not "
    note += "long-tailed." + f" Rescaled: weights are first given the lengths of those by {reference.upper()}." * bool(rescaled)
    gains = {
        what: row
        for what, row in _gains(arms, reference, kinds, rescaled, f"{title}: fine-tuned", alike).items()
        if any(row.values())
    }
    difference = "Mean difference in points with its 95% interval, paired by seed; all but what is named is the same."
    return [
        ReportTable("invariance", "Encoders under one protocol", rows, 2, note, plot),
        *([ReportTable("invariance_gains", "What a single change makes", gains, 2, difference)] if gains else []),
    ]


def _gains(arms: Sequence[Arm], reference: str, kinds: Columns, rescaled: Mapping, tuned: str, alike: tuple) -> dict:
    """By what is changed: a gain for each column."""
    found: dict[str, dict[str, Cell]] = {}

    def held(what: str, arm: Arm, other: Arm) -> None:
        if other in arms:
            found[what] = {kind: gain(values.get(arm.name, ()), values.get(other.name, ())) for kind, values in kinds.items()}

    for method, base in OVER:
        for arm in (arm for arm in arms if arm.method == method):
            held(f"{METHODS[method]} over {METHODS[base]}: {arm.title('method', *alike)}", arm, arm._replace(method=base))
    for arm in (arm for arm in arms if arm.optimiser != reference):
        what = f"{arm.optimiser.upper()} over {reference.upper()}: {arm.title('optimiser', *alike)}"
        held(what, arm, arm._replace(optimiser=reference))
    for arm in (arm for arm in arms if arm.name in rescaled):
        as_it_is = kinds[tuned].get(arm.name, ())
        found[f"rescaled over as it is: {arm.title(*alike)}"] = {tuned: gain(rescaled[arm.name], as_it_is)}
    for arm in (arm for arm in arms if arm.views != arms[0].views):
        what = f"{arm.views} over {arms[0].views} views: {arm.title('views')}"
        held(what, arm, arm._replace(views=arms[0].views))
    return found
