"""Latents and labels, joined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import generator
from kdjax.models.latents import Latents, spherical

Z = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
TABLE = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
LABEL = np.array([4, 0, 2])


def joined(x, **options):
    return Latents(5, **options).apply({"params": {"class_embedding": jnp.asarray(TABLE)}}, x)


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({"label": "product"}, Z * TABLE[LABEL]),
        ({"label": "sum"}, Z + TABLE[LABEL]),
        ({"label": "concat", "embedding": 4}, np.concatenate([Z, TABLE[LABEL]], 1)),
        ({"label": "concat"}, np.concatenate([Z, np.eye(5)[LABEL]], 1)),
    ],
)
def test_by_hand(options, by_hand):
    got, taps = joined({"latent": Z, "label": LABEL}, **options)
    np.testing.assert_allclose(got, by_hand, rtol=1e-6)
    same, _ = joined({"latent": Z, "label": np.eye(5, dtype=np.float32)[LABEL]}, **options)
    np.testing.assert_array_equal(same, got)
    if options != {"label": "concat"}:
        np.testing.assert_allclose(taps["class_embedding"], TABLE[LABEL], rtol=1e-6)


def test_a_distribution_over_classes_mixes_their_embeddings():
    shares = np.random.default_rng(2).dirichlet(np.ones(5), 3)
    got, _ = joined({"latent": Z, "label": shares.astype(np.float32)}, label="sum")
    np.testing.assert_allclose(got, Z + shares @ TABLE, rtol=1e-5)


def test_embeddings_start_as_long_as_the_docstring_says():
    def length(label):
        params = Latents(64, label).init(jax.random.key(0), {"latent": jnp.zeros((1, 256)), "label": jnp.zeros(1, int)})["params"]
        return float(jnp.linalg.norm(params["class_embedding"], axis=1).mean())

    assert length("sum") == pytest.approx(1, rel=0.02) and length("product") == pytest.approx(16, rel=0.02)


def test_without_classes_a_label_is_not_looked_at():
    net = generator(4, channels=1, widths=(2,))
    params, stats = net.init(jax.random.key(0), Z)
    alone, _ = net.apply(params, stats, Z, train=False)
    beside, _ = net.apply(params, stats, {"latent": Z, "label": LABEL}, train=False)
    np.testing.assert_array_equal(alone["image"], beside["image"])


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (Z, r"a generator of classes=5 is given no label: expected \[3\] or \[3, 5\]"),
        ({"latent": Z}, "is given no label"),
        ({"latent": Z, "label": np.eye(6)[LABEL]}, r"is given a label of shape \[3, 6\]"),
        ({"latent": Z, "label": LABEL[:2]}, r"is given a label of shape \[2\]"),
    ],
)
def test_a_label_that_is_missing_or_of_other_classes_is_refused(x, said):
    net = generator(4, channels=1, widths=(2,), classes=5)
    params, stats = jax.eval_shape(net.init, jax.random.key(0), Z)
    with pytest.raises(InputError, match=said):
        jax.eval_shape(lambda x: net.apply(params, stats, x, train=False), x)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"classes": 0}, "classes=0"),
        ({"classes": 5, "label": "added"}, "label='added' is not accepted: expected 'product', 'concat', 'sum'"),
        ({"classes": 5, "label": "sum", "embedding": 4}, "embedding=4 is not accepted: .*label='concat'"),
    ],
)
def test_bad_options_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        generator(4, **options)


def test_the_way_along_the_sphere_turns_evenly():
    """From SciPy: rotations about an axis are interpolated along the shortest arc."""
    from scipy.spatial.transform import Rotation, Slerp

    turns = Rotation.random(2, random_state=0)
    a, b = turns.as_quat()
    b = b if a @ b > 0 else -b
    shares = np.linspace(0, 1, 5)
    wanted = Slerp([0, 1], turns)(shares).as_quat()
    found = np.asarray(spherical(jnp.asarray(3 * a)[None], jnp.asarray(3 * b)[None], jnp.asarray(shares)[:, None]))
    np.testing.assert_allclose(found, 3 * wanted * np.sign((wanted @ a)[:, None]), atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_on_one_line_the_way_is_straight(factor):
    a, shares = Z[0], np.linspace(0, 1, 3)[:, None]
    found = spherical(jnp.asarray(a)[None], jnp.asarray(factor * a)[None], jnp.asarray(shares))
    if factor:
        np.testing.assert_allclose(found, (1 - shares) * a + shares * factor * a, atol=1e-5)
    np.testing.assert_allclose(found[jnp.array([0, 2])], np.stack([a, factor * a]), atol=1e-6)
