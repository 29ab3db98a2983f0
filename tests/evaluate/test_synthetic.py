"""What made-up images are like, counted pair by pair and by limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import entropy

from kdjax import models
from kdjax.core import InputError, batch_norms
from kdjax.evaluate import _distances, batch_norm_distance, class_entropy, diversity, duplicates, nearest_real

RANDOM = np.random.default_rng(2)
MADE, REAL = RANDOM.normal(size=(19, 2, 3)), RANDOM.normal(size=(27, 2, 3))


def flat(x):
    return x.reshape(len(x), -1)


def test_class_entropy_is_scipys():
    logits = RANDOM.normal(size=(50, 4))
    counts = np.bincount(logits.argmax(1), minlength=4)
    assert float(class_entropy(jnp.asarray(logits))) == pytest.approx(entropy(counts), rel=1e-5)
    assert float(class_entropy(jnp.asarray(logits), share=True)) == pytest.approx(entropy(counts) / np.log(4), rel=1e-5)


def test_class_entropy_from_one_class_to_all():
    for share, most in ((False, np.log(5)), (True, 1.0)):
        assert float(class_entropy(jnp.eye(5), share=share)) == pytest.approx(most, rel=1e-5)
        assert float(jax.jit(lambda z, share=share: class_entropy(z, share=share))(jnp.ones((5, 5)))) == 0
    with pytest.raises(InputError, match=r"classes=1 .* 2 or more"):
        class_entropy(jnp.ones((3, 1)), share=True)


@pytest.mark.parametrize("rows", [4, 1024], ids=["blocks", "whole"])
def test_pairs_one_by_one(monkeypatch, rows):
    monkeypatch.setattr(_distances, "ROWS", rows)
    assert diversity(MADE) == pytest.approx(pdist(flat(MADE)).mean())
    apart = cdist(flat(MADE), flat(MADE)) + np.diag(np.full(19, np.inf))
    few, many = 1.0, 2.0
    assert duplicates(MADE, tolerance=few) == (apart.min(1) < few).mean() == 2 / 19
    assert duplicates(MADE, tolerance=many) == (apart.min(1) < many).mean() > 0.5
    near, which = nearest_real(MADE, REAL)
    across = cdist(flat(MADE), flat(REAL))
    np.testing.assert_array_equal(which, across.argmin(1))
    np.testing.assert_allclose(near, across.min(1))


def test_copies_are_found():
    copies = MADE[np.arange(19) % 3] + 1e3  # far from 0, where differences of squares lose digits
    assert duplicates(copies, tolerance=1e-3) == 1 and duplicates(MADE, tolerance=1e-3) == 0
    near, which = nearest_real(REAL[[4, 0]], REAL)
    assert near.tolist() == [0, 0] and which.tolist() == [4, 0]
    assert diversity(np.ones((3, 4))) == pytest.approx(0, abs=1e-6)


def test_more_images_than_a_block_holds():
    x = RANDOM.normal(size=(_distances.ROWS + 200, 4))
    twice = np.concatenate([x, x[:7]])
    assert duplicates(twice, tolerance=1e-6) == 14 / len(twice)
    assert diversity(x) == pytest.approx(pdist(x).mean(), rel=1e-9)


def test_batch_norm_distance_of_a_net():
    net = models.conv_net((4, 5), 3)
    x = RANDOM.uniform(size=(6, 8, 8, 1)).astype(np.float32)
    params, stats = net.init(jax.random.key(0), x)
    taps, _ = net.apply(params, stats, x, train=False)
    layers = batch_norms(taps, stats)
    assert len(layers) >= 2
    expected = sum(
        np.linalg.norm(h.reshape(-1, h.shape[-1]).mean(0) - m) + np.linalg.norm(h.reshape(-1, h.shape[-1]).var(0) - v)
        for h, m, v in (map(np.float64, layer) for layer in layers)
    )
    assert float(batch_norm_distance(taps, stats)) == pytest.approx(expected, rel=1e-5)


def test_no_batch_norm_is_refused():
    with pytest.raises(InputError, match="this teacher has no batch-norm layers"):
        batch_norm_distance({"logits": jnp.ones((2, 3))}, {})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: duplicates(MADE[:1], tolerance=1.0), r"images of shape \(1, 2, 3\) .* 2 rows or more"),
        (lambda: duplicates(MADE, tolerance=0), "tolerance=0 .* above 0"),
        (lambda: diversity(MADE[0, 0]), r"images of shape \(3,\) .* \[N, ...\]"),
        (lambda: nearest_real(MADE, REAL[:, :1]), r"images of shape \(19, 2, 3\) and real of shape \(27, 1, 3\) .* one width"),
        (lambda: nearest_real(MADE[:0], REAL), r"images of shape \(0, 2, 3\) .* 1 row or more"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
