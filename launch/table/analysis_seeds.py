"""What analyses of several seeds have in common: means, deviations, and differences paired by seed."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdjax.core.printable import printable
from kdjax.evaluate import paired_interval
from launch.table.robustness_plots import short


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """What was computed of one network as numbers by name, as far as it is one.

    Args:
      found: its part of `analysis.json`.
    """
    flat: dict[str, float] = {}
    for part, names in _SINGLE.items():
        flat |= {label: found[part][name] for name, label in names.items() if part in found}
    gap = found.get("landscape", {}).get("gap", {"scales": (), "mean": ()})
    flat |= {f"rise of the loss at {s:g} of each filter": x for s, x in zip(gap["scales"], gap["mean"], strict=True)}
    for source, scores in found.get("ood", {}).items():
        words = short(source)
        for score, by in (("probability", ""), ("odin", " by ODIN")):
            flat |= {f"{label} of {words}{by} %": scores[score][name] for name, label in _OOD.items()}
    attacked = found.get("attack", {"epsilons": ()})
    for k, epsilon in enumerate(attacked["epsilons"]):
        flat |= {f"accuracy under {kind.upper()} of {epsilon}/255 %": attacked[kind][k] for kind in ("fgsm", "pgd")}
    return flat


_SINGLE = {
    "calibration": {"accuracy": "accuracy %", "nll": "nll", "ece": "ece %"},
    "correlation": {"agreement": "agreement %", "gap": "gap of logit correlations"},
    "sharpness": {"eigenvalue": "top Hessian eigenvalue", "trace": "Hessian trace"},
    "corruption": {"mean": "mean accuracy on damaged images %"},
}
_OOD = {"auroc": "AUROC", "fpr95": "FPR95"}


def over_seeds(found: Sequence[Mapping[str, Mapping[str, Any]]], first: str) -> dict[str, dict[str, dict[str, Any]]]:
    """`{measure: {network: {"values", "mean", "std", "gain"}}}`; the gain over the network `first` is `(mean, low, high)`.

    Args:
      found: of each seed, what was computed by network.
      first: the network with which the others are compared.
    """
    each = {network: [numbers(one[network]) for one in found] for network in found[0]}
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for network, seeds in each.items():
        for measure in seeds[0]:
            values = [one[measure] for one in seeds]
            told = {"values": values, "mean": mean(values), "std": stdev(values)}
            if network != first and measure in each[first][0]:
                told["gain"] = tuple(paired_interval(values, [one[measure] for one in each[first]]))
            table.setdefault(measure, {})[network] = told
    return table


def show(console: Console, table: Mapping[str, Mapping[str, Mapping[str, Any]]], first: str, seeds: Sequence[int]) -> None:
    """Networks by measure: mean and standard deviation over seeds; below them the difference from the first, with its interval."""
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    title = f"{len(seeds)} seeds; below, the paired difference from {first.replace('_', ' ')} with its 95% interval"
    shown = Table(title=Text(printable(title)), box=box.SIMPLE_HEAD)
    shown.add_column("measure")
    for name in names:
        shown.add_column(name.replace("_", " "), justify="right")
    for measure, row in table.items():
        shown.add_row(measure, *(_cell(row[name]) if name in row else "" for name in names))
    console.print(shown)


def _cell(told: Mapping[str, Any]) -> Text:
    text = f"{told['mean']:.4g} ± {told['std']:.2g}"
    return Text(text + ("\n{:+.3g}\n[{:.3g}, {:.3g}]".format(*told["gain"]) if "gain" in told else ""))
