"""How landscapes, and what networks make of foreign, attacked and damaged images, are shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch.table import look

Cell = Callable[[dict], str]
MARKERS = "Dos^vP*X"  # of networks, since colours come back


def rows(found: Mapping[str, dict]) -> dict[str, Cell]:
    """The rows of a table of networks, each with the cell of one, as far as they were computed.

    Args:
      found: what was computed, by network.
    """
    one = next(iter(found.values()))
    shown: dict[str, Cell] = {}
    for k, scale in enumerate(one.get("landscape", {}).get("gap", {}).get("scales", ())):
        shown[f"rise of the loss at {scale:g} of each filter"] = _gap(k)
    for name in one.get("ood", {}):
        words = short(name)
        shown[f"AUROC of {words} %"] = lambda of, name=name: f"{of['ood'][name]['probability']['auroc']:.2f}"
        shown[f"FPR95 of {words} %"] = lambda of, name=name: f"{of['ood'][name]['probability']['fpr95']:.2f}"
        shown[f"AUROC of {words} by ODIN %"] = lambda of, name=name: f"{of['ood'][name]['odin']['auroc']:.2f}"
    for k, epsilon in enumerate(one.get("attack", {}).get("epsilons", ())):
        cell = lambda of, k=k: f"{of['attack']['fgsm'][k]:.2f} / {of['attack']['pgd'][k]:.2f}"  # noqa: E731
        shown[f"accuracy under FGSM / PGD of {epsilon}/255 %"] = cell
    if "corruption" in one:
        shown["mean accuracy on damaged images %"] = lambda of: f"{of['corruption']['mean']:.2f}"
    return shown


def draw(folder: Path, found: Mapping[str, dict], networks: Sequence[str] = ()) -> None:
    """Writes `landscape.png`, `ood.png`, `attack.png`, `corruption.png`, as far as they were computed.

    Args:
      folder: where.
      found: what was computed, by network.
      networks: all of the run, of whose order colours follow.
    """
    style = look.styles([*networks, *found])

    def of(part: str) -> dict[str, dict]:
        return {name: one[part] for name, one in found.items() if part in one}

    if around := of("landscape"):
        lines = {"along a random direction": [(n, x["line"]["at"], x["line"]["loss"], style[n]) for n, x in around.items()]}
        if ways := {n: x["way"] for n, x in around.items() if "way" in x}:
            start = look.shown(next(iter(ways.values()))["from"])
            lines[f"from {start}, 0, to another, 1"] = [(n, x["at"], x["loss"], style[n]) for n, x in ways.items()]
        planes = {f"{look.shown(n)}, two directions": (x["plane"]["at"], x["plane"]["loss"]) for n, x in around.items()}
        _landscape(folder / "landscape.png", lines, planes)
    if foreign := of("ood"):
        kinds = {"highest probability": "probability", "ODIN": "odin"}
        panels = {title: (foreign, kind, style) for title, kind in kinds.items()}
        look.row(folder / "ood.png", "foreign images told from test images", panels, _areas)
    if attacked := of("attack"):
        panels = {
            title: [(n, [0, *x["epsilons"]], [x["clean"], *x[kind]], style[n]) for n, x in attacked.items()]
            for title, kind in {"FGSM, one step": "fgsm", "PGD, ten steps": "pgd"}.items()
        }
        look.row(folder / "attack.png", "test images changed by the gradient", panels, _lines("change (255ths of the range)"))
    if damaged := of("corruption"):
        kinds = next(iter(damaged.values()))["kinds"]
        panels = {look.shown(kind): [(n, range(1, 6), x["kinds"][kind], style[n]) for n, x in damaged.items()] for kind in kinds}
        look.row(folder / "corruption.png", "damaged test images", panels, _lines("strength (1 to 5)"))


def short(source: str) -> str:
    """A foreign set in words, without the folders it lies in."""
    return source.rpartition("/")[2].replace("_", " ")


def _gap(k: int) -> Cell:
    return lambda of: f"{of['landscape']['gap']['mean'][k]:.4g} ± {of['landscape']['gap']['error'][k]:.2g}"


def _curves(axes: Any, curves: Iterable[tuple[str, Sequence[float], Sequence[float], look.Style]]) -> None:
    """A line a network: name, where, values, style."""
    for name, at, values, style in curves:
        axes.plot(at, values, color=style.color, linestyle=style.linestyle, marker=".", label=look.shown(name))
    axes.legend()


def _lines(where: str) -> Callable[[Any, Any], None]:
    def paint(axes: Any, curves: Any) -> None:
        _curves(axes, curves)
        axes.set(xlabel=where, ylabel="accuracy (%)", ylim=(-2, 102))
        axes.xaxis.get_major_locator().set_params(integer=True)

    return paint


def _areas(axes: Any, content: tuple[Mapping[str, dict], str, Mapping[str, look.Style]]) -> None:
    """A dot for each network and foreign set."""
    found, score, style = content
    names = list(next(iter(found.values())))
    for k, (network, sets) in enumerate(found.items()):
        at, values = np.arange(len(names)) + 0.12 * (k - (len(found) - 1) / 2), [sets[name][score]["auroc"] for name in names]
        axes.plot(at, values, MARKERS[k % len(MARKERS)], color=style[network].color, markersize=8, label=look.shown(network))
    axes.axhline(50, color=look.GREY, linewidth=1, linestyle="--")
    axes.set_xticks(range(len(names)), [look.text(short(name)) for name in names], rotation=20, ha="right")
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(-2, 102), xlabel="foreign set; line: a guess", ylabel="AUROC (%)")
    axes.legend()


def _landscape(path: Path, lines: Mapping[str, Any], planes: Mapping[str, Any]) -> None:
    figure, columns = look.subplots(1, len(lines) + len(planes), figsize=(5.4 * (len(lines) + len(planes)), 5))
    for axes, (title, curves) in zip(columns[0], lines.items(), strict=False):
        _curves(axes, curves)
        axes.set(title=title, xlabel="position", ylabel="loss (nats)")
    least, most = (f([f(loss) for _, loss in planes.values()]) for f in (np.min, np.max))
    levels = np.linspace(least, max(most, least + 1e-6), 21)  # the same for all, or flat and sharp would look alike
    for axes, (title, (at, loss)) in zip(columns[0][len(lines) :], planes.items(), strict=True):
        picture = axes.contourf(at, at, np.transpose(loss), levels=levels)
        figure.colorbar(picture, ax=axes, shrink=0.8, label="loss (nats)")
        axes.plot(0, 0, "w+", markersize=12)
        axes.set(title=title, xlabel="first direction (norms of filters)", ylabel="second direction (norms of filters)")
    figure.suptitle("loss on training images, each filter of a direction as long as the weights'")
    look.save(figure, path)
