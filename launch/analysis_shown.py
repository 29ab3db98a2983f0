"""How an analysis is shown: its table and its plots."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

LEGIBLE = 12  # rows and columns up to which the numbers of a heat map are written into it, and classes named


def table(console: Console, found: dict[str, dict], about: dict) -> None:
    """Networks by measure.

    Args:
      console: where.
      found: what was computed, by network.
      about: data, seed, numbers of images.
    """
    title = f"seed {about['seed']} on {about['data']}, {about['test_images']} test images"
    if about["train_images"]:
        title += f", {about['train_images']} training images for the Hessian"
    shown = Table(title=title, box=box.SIMPLE_HEAD)
    shown.add_column("measure", vertical="bottom")
    for name in found:
        shown.add_column(name.replace("_", " "), justify="right", vertical="bottom")
    for label, cell in ROWS.items():
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


def draw(folder: Path, found: dict[str, dict], classes: Sequence[str]) -> None:
    """Writes `reliability.png`, `cka.png`, `correlation.png`, `sharpness.png`, as far as they were computed."""
    import matplotlib

    matplotlib.use("Agg")
    names = {name: name.replace("_", " ") for name in found}
    bins = {names[name]: one["calibration"] for name, one in found.items() if "calibration" in one}
    if bins:
        _panels(folder / "reliability.png", bins, _reliability)
    cka = {names[name]: one["cka"] for name, one in found.items() if "cka" in one}
    if cka:
        _panels(folder / "cka.png", {f"linear CKA, {name}": x for name, x in cka.items()}, _layers)
    away = {names[name]: np.array(one["correlation"]["difference"]) for name, one in found.items() if "correlation" in one}
    if away:
        limit = max(0.01, max(np.abs(x).max() for x in away.values()))
        panels = {f"correlation of logits, {name} - teacher": (x, limit, classes) for name, x in away.items()}
        _panels(folder / "correlation.png", panels, _difference)
    sharp = {names[name]: one["sharpness"] for name, one in found.items() if "sharpness" in one}
    if sharp:
        bars = {key: {name: (x[key], x[f"{key}_error"]) for name, x in sharp.items()} for key in ("eigenvalue", "trace")}
        panels = {"largest eigenvalue of the Hessian": bars["eigenvalue"], "trace of the Hessian": bars["trace"]}
        _panels(folder / "sharpness.png", panels, _bars)


def _panels(path: Path, panels: dict[str, Any], paint: Callable) -> None:
    """A row of panels, each made by `paint(axes, content)`."""
    from matplotlib import pyplot as plt

    figure, columns = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4.4), layout="constrained", squeeze=False)
    for axes, (title, content) in zip(columns[0], panels.items(), strict=True):
        paint(axes, content)
        axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _reliability(axes: Any, found: dict) -> None:
    share, confidence, accuracy = (np.array(found["bins"][k]) for k in ("share", "confidence", "accuracy"))
    left, width, there = np.arange(len(share)) / len(share), 1 / len(share), share > 0
    axes.bar(left[there], accuracy[there], width, align="edge", color="C0", alpha=0.6, edgecolor="C0", label="accuracy")
    axes.bar(left[there], share[there], width / 3, align="edge", color="C1", label="part of the images")
    axes.plot(confidence[there], accuracy[there], "k.", markersize=5)
    axes.plot([0, 1], [0, 1], "k--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"confidence; calibration error {found['ece']:.2f} %")
    axes.legend(loc="upper left")


def _layers(axes: Any, found: dict) -> None:
    _heat(axes, np.array(found["values"]), found["layers"], found["teacher_layers"], cmap="viridis", vmin=0, vmax=1)
    axes.set(xlabel="layer of the teacher", ylabel="layer of the student")


def _difference(axes: Any, found: tuple[np.ndarray, float, Sequence[str]]) -> None:
    values, limit, classes = found
    names = classes if len(classes) <= LEGIBLE else ()
    _heat(axes, values, names, names, cmap="RdBu_r", vmin=-limit, vmax=limit)


def _bars(axes: Any, found: dict[str, tuple[float, float]]) -> None:
    for x, (value, error) in enumerate(found.values()):
        axes.bar(x, value, yerr=error, color=f"C{x % 10}", alpha=0.6, capsize=4)
        axes.annotate(f"{value:.4g}", (x, value + error), xytext=(0, 4), textcoords="offset points", ha="center")
    axes.set_xticks(range(len(found)), found)
    axes.margins(y=0.15)


def _heat(axes: Any, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], **options: Any) -> None:
    picture = axes.imshow(values, **options)
    axes.figure.colorbar(picture, ax=axes, shrink=0.8)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    if max(values.shape) <= LEGIBLE:
        for (i, j), value in np.ndenumerate(values):
            shade = picture.cmap(picture.norm(value))[:3]
            axes.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="black" if np.mean(shade) > 0.5 else "white"
            )
