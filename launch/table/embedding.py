"""Maps of an encoder's features: their two principal components beside t-SNE."""

from pathlib import Path
from typing import Any

import numpy as np

from kdjax.data import read_undamaged, spread_rows
from launch.table import look

ROWS = 1000  # images on a map
PASS = 250  # images that the network sees at a time
FEWEST = 5  # images; with fewer there is nothing to see


def embedding(path: Path, name: str, result: Any, stage: Any, dataset: Any) -> None:
    """Draws the features of at most 1000 test images by the first member, coloured by class.

    Nothing is drawn of features that are not finite, of those that are all the same, and of very few.

    Args:
      path: the image.
      name: of the stage.
      result: of it.
      stage: whose first net is the encoder.
      dataset: whose test images are shown.
    """
    if not dataset.test.size:
        return
    batch, _ = read_undamaged(dataset.test, spread_rows(dataset.test.size, ROWS), skip=True)
    features = _features(result, stage, batch)
    if len(features) < FEWEST or features.shape[1] < 2 or not np.isfinite(features).all():
        return
    components, shares = principal(features)
    if not shares.any():
        return
    figure, ((left, right),) = look.subplots(1, 2, figsize=(12.5, 6))
    for axes, points in ((left, components), (right, _neighbourhoods(features))):
        _scatter(axes, points, batch["label"], dataset.names)
        axes.set(xticks=[], yticks=[])
    left.set_title("principal components")
    left.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    left.set_ylabel(f"second component ({shares[1]:.0%} of the variance)")
    right.set_title("t-SNE, which keeps neighbours together")
    right.set(xlabel="first axis (no unit)", ylabel="second axis (no unit)")
    if len(dataset.names) <= 20:
        right.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10, markerscale=2)
    figure.suptitle(f"features of {len(features)} test images, {look.shown(name)}")
    look.save(figure, path)


def principal(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components of rows, and which part of the variance each has.

    Args:
      features: `[N, D]`, both 2 or more.

    Returns:
      `(points [N, 2], shares [2])`.
    """
    centred = np.float64(features) - np.mean(features, axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    variance = np.square(sizes)
    return left[:, :2] * sizes[:2], variance[:2] / max(variance.sum(), np.finfo(float).tiny)


def _features(result: Any, stage: Any, batch: dict) -> np.ndarray:
    import jax

    from kdjax import models

    frozen, net = result.frozen(), models.build(next(iter(stage.nets.values())))
    pooled = jax.jit(lambda rows: net.apply(frozen.params, frozen.stats, stage.view(rows), train=False)[0]["pooled"])
    parts = ({key: x[i : i + PASS] for key, x in batch.items()} for i in range(0, len(batch["label"]), PASS))
    return np.concatenate([np.asarray(pooled(part), np.float32) for part in parts])


def _neighbourhoods(features: np.ndarray) -> np.ndarray:
    """t-SNE, `[N, 2]`."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # so few rows: on a busy machine threads wait for each other, ten times as long
        return TSNE(random_state=0, init="pca", perplexity=min(30, len(features) // 4)).fit_transform(features)


def _scatter(axes: Any, points: np.ndarray, labels: np.ndarray, names: Any) -> None:
    colors = _class_colors(len(names))
    for label in np.unique(labels):
        told = (
            {"label": look.text(names[label]), "color": colors[label]}
            if label >= 0
            else {"label": "unlabelled", "color": look.GREY}
        )
        axes.scatter(*points[labels == label].T, s=10, marker="os^vDP*X"[label % 8], linewidth=0, **told)


def _class_colors(count: int) -> np.ndarray:
    """Colours of classes from dark to light; neighbours differ in their markers too."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 0.92, max(count, 1)))
