"""Which layers of a teacher to hint with: the centres of clusters of layers that see alike."""

from collections.abc import Callable

import numpy as np

from kdjax.core.check import InputError, check_option, pick

ROUNDS = 80


def hint_points(distances: np.ndarray, k: int, *, update: str = "mean_index") -> tuple[int, ...]:
    """The hint points of PURSUhInT: centres of k clusters of layers.

    The first centres are equally spaced from the first layer to the last, rounded down. Then, up to 80 times and until
    nothing changes, each layer joins the centre at the least distance (of equals the earlier one; a centre stays with
    itself), and each cluster takes a new centre among its members.

    Args:
      distances: `[L, L]`, of layer i from layer j as a centre: 1 - s of a similarity s, such as
        `1 - similarities(layers, layers, r2_cca)`, which need not be symmetric.
      k: the number of hint points, 1 to L: as many as the student has layers to teach.
      update: the new centre of a cluster. `"mean_index"`: the member whose number is nearest to the mean of the members'
        numbers, rounded down; `"medoid"`: the member with the least sum of the members' distances from it. Of equals the
        earlier layer.

    Returns:
      k different layers in ascending order, counted from 0.

    Raises:
      InputError: when the distances are not a square of finite numbers, `k` is out of range, or `update` is not known.

    Reference:
      Reyhan Kevser Keser, Aydin Ayanzadeh, Omid Abdollahi Aghdam, Caglar Kilcioglu, Behcet Ugur Toreyin, Nazim Kemal Ure,
      "PURSUhInT: In Search of Informative Hint Points Based on Layer Clustering for Knowledge Distillation", Expert Systems
      with Applications 213, 2023, arXiv:2103.00053. The means by number are those of a re-implementation.

    >>> layers = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 9.0, 9.1])
    >>> hint_points(np.abs(layers[:, None] - layers[None]), 3)
    (1, 4, 6)
    """
    distances = np.asarray(distances, np.float64)
    layers = len(distances) if distances.ndim else 0
    if distances.shape != (layers, layers) or not layers or not np.isfinite(distances).all():
        raise InputError(f"distances have shape {distances.shape}: expected [L, L], finite numbers")
    check_option("k", k, lambda n: int(n) == n and 1 <= n <= layers, f"1 to {layers}, the number of layers")
    renew = pick("update", update, UPDATES)
    centres = np.arange(k) * (layers - 1) // max(k - 1, 1)
    for _ in range(ROUNDS):
        nearest = np.argmin(distances[:, centres], axis=1)
        nearest[centres] = np.arange(k)
        new = np.array([renew(distances, np.flatnonzero(nearest == c)) for c in range(k)])
        if (new == centres).all():
            break
        centres = new
    return tuple(sorted(map(int, centres)))


def _mean_index(distances: np.ndarray, members: np.ndarray) -> int:
    return members[np.argmin(np.abs(members - int(members.mean())))]


def _medoid(distances: np.ndarray, members: np.ndarray) -> int:
    return members[np.argmin(distances[np.ix_(members, members)].sum(axis=0))]


UPDATES: dict[str, Callable[[np.ndarray, np.ndarray], int]] = {"mean_index": _mean_index, "medoid": _medoid}
