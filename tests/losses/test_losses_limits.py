"""What losses of views become in a limit: another loss, or nothing. Those of moco, twist and uslt are beside their oracles."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from oracle import same_value

from kdjax import losses
from kdjax.core import unit

RNG = np.random.default_rng(17)
Q, K = (np.float32(unit(x)) for x in RNG.normal(size=(2, 6, 5)))


def test_a_view_that_finds_itself_among_earlier_ones_is_contrasted_with_the_batch():
    same_value(losses.nnclr(losses.nearest(Q, Q), K, temperature=0.2), np.float64(losses.info_nce(Q, K, temperature=0.2)))


def test_of_two_views_all_others_are_the_queue():
    z, partner = np.concatenate([Q, K]), np.roll(np.arange(12), 6)
    others = np.stack([np.delete(z, [i, j], 0) for i, j in enumerate(partner)])
    each = jax.vmap(lambda query, key, queue: losses.moco(query[None], key[None], queue, temperature=0.3)[0])
    same_value(losses.nt_xent(np.stack([Q, K]), temperature=0.3), np.float64(each(z, z[partner], others)).reshape(2, 6))
    same_value(losses.nt_xent(np.ones((2, 6, 5)), temperature=0.3), np.full((2, 6), np.log(11)))


def test_relations_to_the_key_alone_are_contrast_with_the_queue():
    """The queue holds the keys: those of the other images are what is not related."""
    found = losses.ressl(Q, K, K, query_temperature=0.1, key_temperature=1e-3)
    same_value(found, np.float64(losses.info_nce(Q, K, temperature=0.1)))


def test_told_from_all_others_a_view_is_contrasted_with_the_batch():
    same_value(losses.relic_contrast(Q, K, None, temperature=0.3), np.float64(losses.info_nce(Q, K, temperature=0.3)))


def test_assigned_to_a_prototype_each_views_are_contrasted():
    """The prototypes are the first view."""
    codes = losses.sinkhorn(Q @ Q.T, epsilon=1e-3, iterations=3)
    np.testing.assert_allclose(codes, np.eye(6), atol=1e-6)
    found = losses.swav(np.stack([Q @ Q.T, K @ Q.T]), codes[None], temperature=0.1)
    same_value(found, np.float64(losses.info_nce(K, Q, temperature=0.1)).mean())


def test_a_sharp_teacher_names_a_cluster():
    outputs, teacher = RNG.normal(size=(2, 6, 4)).astype(np.float32), RNG.normal(size=(6, 4)).astype(np.float32)
    found = losses.dino(outputs, np.stack([teacher] * 2), np.zeros(4), student_temperature=0.1, teacher_temperature=1e-5)
    same_value(found, np.float64(losses.deepcluster(outputs, teacher.argmax(1), temperature=0.1)))


def test_of_one_view_that_is_white_nothing_is_lost():
    white = losses.whiten(RNG.normal(size=(12, 4)).astype(np.float32))
    for loss in (partial(losses.barlow_twins, weight=1.0), losses.vicreg, losses.vibcreg):
        assert abs(loss(white, white)) < 1e-6


def test_of_standardised_dimensions_correlations_are_covariances():
    """Over all pairs of dimensions there, over the dimensions here."""
    a, b = (x / x.std(0, ddof=1) for x in RNG.normal(size=(2, 12, 4)))
    plain = losses.vicreg(a, b, covariance=1.0, halve_variance=False)
    same_value(losses.vibcreg(a, b, covariance=4.0), np.float64(plain))


def test_without_whitening_it_is_byol_of_embeddings():
    value, gradient = jax.value_and_grad(lambda z: jnp.sum(losses.w_mse(z, K)))(Q)
    expected, wanted = jax.value_and_grad(lambda z: jnp.sum(losses.byol(z, K)))(Q)
    same_value(value, np.float64(expected))
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)


def test_the_middle_of_one_view_is_byol():
    expected = [losses.byol(z, K) for z in (Q, -Q)]
    same_value(losses.view_centroid(np.stack([Q, -Q]), K[None]), np.mean(np.float64(expected), 0))


def test_pixels_that_are_all_hidden_have_their_squared_error():
    images, prediction = RNG.uniform(size=(2, 3, 4, 1)), RNG.normal(size=(2, 12, 1))
    found = losses.masked_patches(prediction, images, np.ones((2, 12)), patch=1, normalise=False)
    same_value(found, np.mean((prediction - images.reshape(2, 12, 1)) ** 2))
