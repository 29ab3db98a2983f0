import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.evaluate import hint_points, r2_cca, similarities
from kdjax.evaluate.hint_points import UPDATES

RANDOM = np.random.default_rng(0)


def apart(places):
    places = np.asarray(places, float)
    return np.abs(places[:, None] - places[None])


def by_hand(d, k, update):
    """The algorithm in plain Python."""
    layers = range(len(d))
    centres = [0] if k == 1 else [int(i * (len(d) - 1) / (k - 1)) for i in range(k)]
    for _ in range(80):
        clusters = [[] for _ in range(k)]
        for i in layers:
            clusters[centres.index(i) if i in centres else min(range(k), key=lambda c: d[i][centres[c]])].append(i)
        if update == "medoid":
            new = [min(c, key=lambda m: sum(d[i][m] for i in c)) for c in clusters]
        else:
            new = [min(c, key=lambda m: abs(m - sum(c) // len(c))) for c in clusters]
        if new == centres:
            break
        centres = new
    return tuple(sorted(centres))


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("k", [1, 2, 3, 7, 12])
def test_any_distances_give_what_plain_python_gives(k, update):
    for _ in range(40):
        distances = RANDOM.uniform(size=(12, 12)) * (1 - np.eye(12))  # not symmetric, neighbours not alike
        found = hint_points(distances, k, update=update)
        assert found == by_hand(distances.tolist(), k, update)
        assert len(set(found)) == k and all(type(i) is int for i in found)


def test_hand_made_clusters():
    # Three groups of layers; the last one's middle is nearer to its second member than to its third.
    distances = apart([0, 1, 2, 3, 30, 31, 32, 60, 61, 62, 63, 70])
    assert hint_points(distances, 3) == (1, 5, 9)
    assert hint_points(distances, 3, update="medoid") == (1, 5, 9)
    # A layer half-way joins the earlier centre, which the mean of five numbers then moves.
    assert hint_points(apart([0, 0, 0, 0, 50, 100, 100]), 2) == (2, 5)
    assert hint_points(apart([0, 10, 11, 12, 13, 14]), 1, update="medoid") == (2,)


def test_one_centre_and_all_of_them():
    assert hint_points(apart(range(9)), 1) == (4,)
    assert hint_points(apart(range(10)), 1) == (4,)
    assert hint_points(apart(range(5)), 5) == (0, 1, 2, 3, 4)
    assert hint_points(np.zeros((1, 1)), 1) == (0,)


def test_the_first_argument_of_the_distance_is_the_layer():
    # Layer 1 is far from centre 0 and near to centre 2, and leads {1, 2}; the other way round it joins layer 0.
    distances = np.array([[0, 1, 9], [9, 0, 1], [9, 5, 0]])
    assert hint_points(distances, 2) == (0, 1)
    assert hint_points(distances.T, 2) == (0, 2)


def test_the_first_argument_of_the_distance_is_the_layer_in_a_medoid_too():
    # All are near to layer 0 as a centre; layer 2 is near to all centres.
    distances = np.array([[0, 3, 9], [1, 0, 9], [1, 3, 0]])
    assert hint_points(distances, 1, update="medoid") == (0,)
    assert hint_points(distances.T, 1, update="medoid") == (2,)


def test_equal_layers_leave_no_cluster_empty():
    for k in range(1, 7):
        assert len(set(hint_points(np.zeros((6, 6)), k))) == k
        assert len(set(hint_points(np.zeros((6, 6)), k, update="medoid"))) == k


@pytest.mark.parametrize("update", UPDATES)
def test_layers_of_a_net_give_clusters_of_neighbours(update):
    # Each layer is the one before, turned a little; between the three groups a large step.
    x, layers = RANDOM.normal(size=(200, 5)), []
    for i in range(12):
        x = x + (2.0 if i in (4, 9) else 0.3) * RANDOM.normal(size=x.shape)
        layers.append(x.astype(np.float32))
    distances = 1 - similarities(layers, layers, r2_cca)
    centres = hint_points(distances, 3, update=update)
    clusters = np.argmin(distances[:, list(centres)], axis=1)
    assert (np.diff(clusters) >= 0).all() and len(set(clusters)) == 3
    assert [sum(low <= c < high for c in centres) for low, high in ((0, 4), (4, 9), (9, 12))] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "options", "line"),
    [
        ((np.zeros((3, 4)), 1), {}, r"distances have shape \(3, 4\): expected \[L, L\]"),
        ((np.zeros(3), 1), {}, "distances"),
        ((1.0, 1), {}, "distances"),
        ((np.zeros((0, 0)), 1), {}, "distances"),
        ((np.full((3, 3), np.nan), 1), {}, "finite"),
        ((np.zeros((3, 3)), 0), {}, "k=0 is not accepted: expected 1 to 3, the number of layers"),
        ((np.zeros((3, 3)), 4), {}, "k=4"),
        ((np.zeros((3, 3)), 1.5), {}, "k=1.5"),
        ((np.zeros((3, 3)), 1), {"update": "mean"}, "update 'mean' is not known; accepted: mean_index"),
    ],
)
def test_refusals(arguments, options, line):
    with pytest.raises(InputError, match=line) as error:
        hint_points(*arguments, **options)
    assert "\n" not in str(error.value)
