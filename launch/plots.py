"""Figures of a run, from its records alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def draw(folder: Path, lines: list[dict], summary: dict, results: dict, experiment: Any) -> None:
    """Writes `plots/*.png`: curves, bars, and where there are any, generated images and the map of an encoder's features."""
    import matplotlib

    matplotlib.use("Agg")
    (folder / "plots").mkdir(exist_ok=True)
    _curves(folder / "plots" / "curves.png", lines)
    _accuracies(folder / "plots" / "accuracy.png", summary)
    for name, result in results.items():
        if result.picture is not None:
            _images(folder / "plots" / f"{name}_images.png", np.asarray(result.picture))
        if "test_rank_me" in result.measures:
            _embedding(folder / "plots" / f"{name}_embedding.png", result, experiment.stages[name].nets, experiment.dataset)


def _curves(path: Path, lines: list[dict]) -> None:
    """Loss and validation accuracy over the run: mean over seeds, with the range between the least and the largest."""
    from matplotlib import pyplot as plt

    stages = list(dict.fromkeys(x["stage"] for x in lines))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for stage in stages:
        own = [x for x in lines if x["stage"] == stage]
        loss = next((k for k in own[0] if k.endswith("loss")), None)
        scores = [k for x in own for k in x if k.endswith("accuracy")]
        for axes, key in ((left, loss), (right, scores[0] if scores else None)):
            if key is not None:
                _band(axes, [(x["step"], x[key]) for x in own if key in x], stage)
                axes.set_ylabel(key.replace("_", " ") + ("" if axes is left else " (%)"))
    left.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("step of the stage")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _band(axes, points, label):
    steps = [s for s, _ in points]
    values = np.array([np.ravel(v) for _, v in points], float)
    (line,) = axes.plot(steps, np.nanmean(values, 1), label=label, marker="." if len(steps) == 1 else None)
    axes.fill_between(steps, np.nanmin(values, 1), np.nanmax(values, 1), alpha=0.2, color=line.get_color(), linewidth=0)


def _accuracies(path: Path, summary: dict) -> None:
    """Test accuracy of every network."""
    found = {
        k: v["values"]
        for k, v in summary["results"].items()
        if "/test_" in k and k.endswith("accuracy") and not any(w in k for w in ("top5", "at_best"))
    }
    if found:
        bars(path, {"% of test images": {k.replace("/test_", "\n").replace("_", " "): v for k, v in found.items()}})


def bars(path: Path, panels: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> None:
    """A panel for each measure: a bar for the mean, a whisker for the standard deviation, a dot a seed.

    Args:
      path: the image.
      panels: measure in words -> name of a bar -> its finite values; a panel holds at least one bar.
      title: above all.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    most = max(map(len, panels.values()))
    if most > 10:
        return _ranks(path, panels, title)
    size = (1.6 + 1.3 * most, 4 * len(panels))
    figure, columns = plt.subplots(len(panels), 1, figsize=size, layout="constrained", squeeze=False)
    for axes, (measure, found) in zip(columns[:, 0], panels.items(), strict=True):
        for x, values in enumerate(found.values()):
            spread = np.std(values, ddof=1) if len(values) > 1 else 0
            axes.bar(x, np.mean(values), yerr=spread, color=f"C{x % 10}", alpha=0.6, capsize=4)
            axes.plot(x + np.linspace(-0.15, 0.15, len(values)), values, "k.", markersize=5)
            foot = axes.get_xaxis_transform()  # x in bars, y from the bottom of the axes
            axes.annotate(f"{np.mean(values):.2f}", (x, 0), xycoords=foot, xytext=(0, 5), textcoords="offset points", ha="center")
        low, high = (f(f(v) for v in found.values()) for f in (min, max))
        margin = 0.4 * (high - low) + (1 if "%" in measure else 0.02 * abs(high) or 1)
        axes.set_ylim(max(0, low - margin), min(101, high + margin) if "%" in measure else high + margin)
        long = any(len(line) > 14 for name in found for line in name.splitlines())
        axes.set_xticks(range(len(found)), found, **({"rotation": 30, "ha": "right"} if long else {}))
        axes.set_ylabel(measure)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _ranks(path: Path, panels: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> None:
    """`bars` of many rows, one below the other, the highest first; a second line that all names share is left out."""
    from matplotlib import pyplot as plt

    rows = [len(found) for found in panels.values()]
    figure, columns = plt.subplots(
        len(panels), 1, figsize=(8, 1.2 * len(rows) + 0.28 * sum(rows)), height_ratios=rows, layout="constrained", squeeze=False
    )
    for axes, (measure, found) in zip(columns[:, 0], panels.items(), strict=True):
        alike = len({name.partition("\n")[2] for name in found}) == 1
        ordered = sorted(found.items(), key=lambda row: np.mean(row[1]))
        means = [np.mean(values) for _, values in ordered]
        spreads = [np.std(values, ddof=1) if len(values) > 1 else 0 for _, values in ordered]
        axes.barh(range(len(ordered)), means, xerr=spreads, color="C0", alpha=0.6, capsize=3)
        for y, (_, values) in enumerate(ordered):
            axes.plot(values, y + np.linspace(-0.15, 0.15, len(values)), "k.", markersize=3)
            axes.annotate(
                f"{means[y]:.2f}", (0, y), xycoords=axes.get_yaxis_transform(), xytext=(5, -3), textcoords="offset points"
            )
        low, high = (f(f(values) for values in found.values()) for f in (min, max))
        margin = 0.4 * (high - low) + 0.02 * abs(high)
        axes.set_xlim(max(0, low - margin), high + 0.1 * margin)
        axes.set_ylim(-0.6, len(ordered) - 0.4)
        axes.set_yticks(range(len(ordered)), [name.partition("\n")[0] if alike else name for name, _ in ordered])
        axes.set_xlabel(measure)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _images(path: Path, images: np.ndarray) -> None:
    """A square grid of images in [0, 1]."""
    from PIL import Image

    side = int(np.sqrt(len(images)))
    images = np.clip(images[: side * side], 0, 1)
    images = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    _, height, width, channels = images.shape
    grid = images.reshape(side, side, height, width, channels).swapaxes(1, 2).reshape(side * height, side * width, channels)
    zoom = max(1, 512 // grid.shape[0])
    pixels = np.repeat(np.repeat(np.round(grid * 255).astype(np.uint8), zoom, 0), zoom, 1)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)


def _embedding(path: Path, result: Any, nets: dict, dataset: Any) -> None:
    """t-SNE of the encoder's features of at most 1000 test images, coloured by class."""
    import jax
    from matplotlib import pyplot as plt
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    from kdjax import models
    from kdjax.augment import as_float
    from kdjax.data import read_sound, spread_rows

    batch, _ = read_sound(dataset.test, spread_rows(dataset.test.size, 1000), skip=True)
    frozen = result.frozen()
    net = models.build(next(iter(nets.values())))
    taps, _ = jax.jit(lambda x: net.apply(frozen.params, frozen.stats, as_float(x), train=False))(batch["image"])
    features = np.asarray(taps["pooled"])
    with threadpool_limits(1):  # so few rows: on a busy machine threads wait for each other, ten times as long
        points = TSNE(random_state=0, init="pca", perplexity=min(30, len(features) // 4)).fit_transform(features)
    figure, axes = plt.subplots(figsize=(6, 5.4), layout="constrained")
    for label in np.unique(batch["label"]):
        own = batch["label"] == label
        axes.scatter(*points[own].T, s=8, label=dataset.names[label] if label >= 0 else "unlabelled")
    if len(dataset.names) <= 20:
        axes.legend(frameon=False, ncols=2, fontsize=8)
    axes.set(xticks=[], yticks=[])
    axes.set_title("t-SNE of test features")
    figure.savefig(path, dpi=120)
    plt.close(figure)
