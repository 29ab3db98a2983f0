"""Digests that change when, and only when, what they stand for does."""

import json

import jax.numpy as jnp
import numpy as np

from kdjax.data import Sampler, array_source, epochs, subset
from kdjax.train import fingerprint

X = np.arange(6, dtype=np.float32)


def test_array_counts_by_bytes_shape_and_dtype():
    same = {fingerprint.of_array(x) for x in (X, jnp.asarray(X), X.copy(), np.repeat(X, 2)[::2])}
    assert len(same) == 1 and len(next(iter(same))) == 64
    others = (X + 1, X.reshape(2, 3), X.view(np.int32), X.astype(np.float64), np.where(X == 0, -0.0, X).astype(np.float32))
    assert len(same | {fingerprint.of_array(x) for x in others}) == 1 + len(others)


def test_tree_counts_by_paths_and_arrays():
    tree = {"a": X, "b": {"c": X}}
    assert fingerprint.of_tree(tree) == fingerprint.of_tree({"b": {"c": jnp.asarray(X)}, "a": X})
    others = ({"a": X, "b": {"d": X}}, {"a": X, "b": {"c": X + 1}}, {"a": X}, {"a": X, "b": X})
    assert len({fingerprint.of_tree(t) for t in (tree, *others)}) == 5


def test_json_ignores_the_order_of_names_only():
    value = {"a": [1, 2], "b": 0.5}
    assert fingerprint.of_json(value) == fingerprint.of_json({"b": 0.5, "a": (1, 2)})
    assert len({fingerprint.of_json(v) for v in (value, {"a": [2, 1], "b": 0.5}, {"a": [1, 2], "b": 0.25}, {"a": [1, 2]})}) == 4


def test_platform_is_json():
    assert {"device", "devices", "jax", "flax", "optax"} <= set(json.loads(json.dumps(fingerprint.of_platform())))


def test_rows_count_by_their_numbers_labels_and_content():
    images, labels = np.zeros((9, 2, 2, 1), np.uint8), np.arange(9)
    whole = array_source(images, labels)
    assert fingerprint.of_rows(whole) == fingerprint.of_rows(array_source(images.copy(), labels.copy()))
    others = (subset(whole, np.arange(8)), subset(whole, np.arange(9)[::-1]), array_source(images, labels // 2))
    brighter = whole._replace(read=lambda rows: {k: x + (k == "image") for k, x in whole.read(rows).items()})
    assert len({fingerprint.of_rows(x) for x in (whole, *others, brighter)}) == 5


def test_inputs_count_without_their_labels():
    images = np.zeros((9, 2, 2, 1), np.uint8)
    assert fingerprint.of_inputs(array_source(images, np.arange(9))) == fingerprint.of_inputs(
        array_source(images, np.zeros(9, int))
    )
    assert fingerprint.of_inputs(array_source(images, np.arange(9))) != fingerprint.of_inputs(
        array_source(images + 1, np.arange(9))
    )


def test_samplers_count_by_the_rows_they_give():
    one = epochs(9, 4)
    same = Sampler(lambda seed, step: epochs(9, 4).rows(seed, step), one.epoch_of, 4)
    assert fingerprint.of_sampler(one, 12) == fingerprint.of_sampler(same, 12)
    others = (
        epochs(9, 3),
        epochs(9, 4, keep_last=True),
        epochs(8, 4),
        one._replace(rows=lambda seed, step: one.rows(seed + 1, step)),
    )
    assert len({fingerprint.of_sampler(x, 12) for x in (one, *others)}) == 5
