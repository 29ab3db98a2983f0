"""How an analysis is shown: its table and its plots."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdjax.core.printable import printable
from launch.table import look

LEGIBLE = 12  # rows and columns up to which the numbers of a heat map are written into it, and classes named


def table(console: Console, found: dict[str, dict], about: dict, more: Mapping[str, Callable[[dict], str]] = {}) -> None:
    """Networks by measure.

    Args:
      console: where.
      found: what was computed, by network.
      about: data, seed, numbers of images.
      more: further rows, as `ROWS`.
    """
    title = f"seed {about['seed']} on {about['data']}, {about['test_images']} test images"
    if about["train_images"]:
        title += f", {about['train_images']} training images for its loss"
    shown = Table(title=Text(printable(title)), box=box.SIMPLE_HEAD)
    shown.add_column("measure", vertical="bottom")
    for name in found:
        shown.add_column(name.replace("_", " "), justify="right", vertical="bottom")
    for label, cell in {**ROWS, **more}.items():
        cells = [cell(one) for one in found.values()]
        if any(cells):
            shown.add_row(label, *cells)
    console.print(shown)


def _cell(part: str, name: str, form: str) -> Callable[[dict], str]:
    return lambda found: format(found[part][name], form) if part in found else ""


def _trace(found: dict) -> str:
    return "{trace:.4g} ± {trace_error:.2g}".format(**found["sharpness"]) if "sharpness" in found else ""


def _pooled(found: dict) -> str:
    cka = found.get("cka", {"layers": []})
    if "pooled" not in cka["layers"] or "pooled" not in cka["teacher_layers"]:
        return ""
    return f"{cka['values'][cka['layers'].index('pooled')][cka['teacher_layers'].index('pooled')]:.3f}"


ROWS: dict[str, Callable[[dict], str]] = {
    "accuracy %": _cell("calibration", "accuracy", ".2f"),
    "nll": _cell("calibration", "nll", ".3f"),
    "ece %": _cell("calibration", "ece", ".2f"),
    "agreement %": _cell("correlation", "agreement", ".2f"),
    "gap of logit correlations": _cell("correlation", "gap", ".3f"),
    "CKA of pooled features": _pooled,
    "top Hessian eigenvalue": _cell("sharpness", "eigenvalue", ".4g"),
    "Hessian trace": _trace,
}


def draw(folder: Path, found: dict[str, dict], classes: Sequence[str], networks: Sequence[str] = ()) -> None:
    """Writes `reliability.png`, `cka.png`, `correlation.png`, `sharpness.png`, as far as they were computed.

    Args:
      folder: where.
      found: what was computed, by network.
      classes: names of the classes.
      networks: all of the run, of whose order colours follow.
    """
    names = {name: look.shown(name) for name in found}
    style = look.styles([*networks, *found])
    bins = {names[name]: (one["calibration"], style[name].color) for name, one in found.items() if "calibration" in one}
    if bins:
        look.row(folder / "reliability.png", "reliability on test images", bins, _reliability)
    cka = {names[name]: one["cka"] for name, one in found.items() if "cka" in one}
    if cka:
        look.row(folder / "cka.png", "likeness of layers: linear CKA", cka, _layers)
    away = {names[name]: np.array(one["correlation"]["difference"]) for name, one in found.items() if "correlation" in one}
    if away:
        limit = max(0.01, max(np.abs(x).max() for x in away.values()))
        panels = {f"{name} - teacher": (x, limit, list(map(look.text, classes))) for name, x in away.items()}
        look.row(folder / "correlation.png", "correlation of logits", panels, _difference)
    sharp = {name: one["sharpness"] for name, one in found.items() if "sharpness" in one}
    if sharp:
        rows = {
            key: [(names[n], x[key], x[f"{key}_error"], style[n].color) for n, x in sharp.items()]
            for key in ("eigenvalue", "trace")
        }
        panels = {"largest eigenvalue": rows["eigenvalue"], "trace": rows["trace"]}
        look.row(folder / "sharpness.png", "Hessian of the loss on training images", panels, _errors)


def _reliability(axes: Any, found: tuple[dict, str]) -> None:
    calibration, color = found
    share, confidence, accuracy = (np.array(calibration["bins"][k]) for k in ("share", "confidence", "accuracy"))
    left, width, there = np.arange(len(share)) / len(share), 1 / len(share), share > 0
    axes.bar(left[there], accuracy[there], width, align="edge", color=color, alpha=0.5, edgecolor=color, label="accuracy")
    axes.bar(left[there], share[there], width / 3, align="edge", color=look.GREY, hatch="//", label="part of the images")
    axes.plot(confidence[there], accuracy[there], "k.", markersize=7)
    axes.plot([0, 1], [0, 1], "k--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"confidence (0 to 1); calibration error {calibration['ece']:.2f} %")
    axes.set_ylabel("accuracy, part of the images (0 to 1)")
    axes.legend(loc="upper left")


def _layers(axes: Any, found: dict) -> None:
    about = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    _heat(axes, np.array(found["values"]), found["layers"], found["teacher_layers"], "linear CKA (0 to 1)", **about)
    axes.set(xlabel="layer of the teacher", ylabel="layer of the student")


def _difference(axes: Any, found: tuple[np.ndarray, float, Sequence[str]]) -> None:
    values, limit, classes = found
    names = classes if len(classes) <= LEGIBLE else ()
    _heat(axes, values, names, names, "difference of correlations (-2 to 2)", cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xlabel="class", ylabel="class")


def _errors(axes: Any, found: Sequence[tuple[str, float, float, str]]) -> None:
    """A dot with its standard error for each network: name, value, error, colour."""
    for x, (_, value, error, color) in enumerate(found):
        axes.errorbar(x, value, yerr=error, fmt="D", color=color, markersize=8, capsize=5)
        axes.annotate(f"{value:.4g}", (x, value), xytext=(9, 0), textcoords="offset points", va="center")
    axes.set_xticks(range(len(found)), [name for name, *_ in found], rotation=20, ha="right")
    axes.set(
        xlim=(-0.5, len(found) - 0.2), xlabel="network; bar: standard error", ylabel="curvature (loss a squared unit of weight)"
    )
    axes.margins(y=0.15)


def _heat(axes: Any, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], measure: str, **options: Any) -> None:
    picture = axes.imshow(values, **options)
    axes.grid(visible=False)
    axes.figure.colorbar(picture, ax=axes, shrink=0.8, label=measure)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    if max(values.shape) <= LEGIBLE:
        for (i, j), value in np.ndenumerate(values):
            shade = picture.cmap(picture.norm(value))[:3]
            axes.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="black" if np.mean(shade) > 0.5 else "white"
            )
