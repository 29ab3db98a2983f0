import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, close, start
from first_step import KEY, log_softmax, unit
from tiny_nets import images

from kdjax.core import InputError, spherical_k_means
from kdjax.methods.siamese.deepcluster_v2 import refresh_clusters
from kdjax.models import mlp_head

PROJECTOR = mlp_head(6, 5)
NUMBERS = 2 * np.arange(16)


def embeddings(state, views):
    """By plain passes, both views as one batch."""
    case, net = CASES["deepcluster_v2"](), state.online
    taps, _ = case.nets["encoder"].apply(net.params["encoder"], net.stats["encoder"], jnp.concatenate(views), train=True)
    z, _ = PROJECTOR.apply(net.params["projector"], net.stats["projector"], taps["pooled"], train=True)
    return unit(np.float64(np.split(z["embedding"], len(views))))


def test_views_are_classified_into_the_cluster_of_their_image():
    """Rows in another order than that of the bank, and two without a cluster."""
    case = CASES["deepcluster_v2"]()
    order = np.random.default_rng(0).permutation(16)
    batch = jax.tree.map(lambda x: x[order], case.batch)
    state = start(case)
    assigned = np.stack([np.arange(16) % 3, -(np.arange(16) % 2) + 2 * (np.arange(16) % 4 == 2)]).astype(np.int32)
    state = state._replace(memory=state.memory._replace(assignments=jnp.asarray(assigned)))
    new, metrics = jax.jit(case.method.step)(state, batch, KEY)
    z, heads = embeddings(state, batch["views"]), []
    for centroids, clusters in zip(np.float64(state.memory.centroids), assigned[:, order], strict=True):
        log_p = log_softmax(z @ centroids.T / 0.1)
        known = clusters >= 0
        heads.append(-np.mean(log_p[:, known][:, np.arange(known.sum()), clusters[known]]))
    np.testing.assert_allclose(metrics["deepcluster"], np.mean(heads), rtol=1e-4)
    # What the next clustering starts from: both views by the number of their image; centroids and clusters stay.
    np.testing.assert_allclose(new.memory.bank[:, order], z, atol=1e-5)
    assert np.all(new.memory.seen)
    close(new.memory[:2], state.memory[:2])


def test_small_views_are_classified_and_not_kept():
    case = CASES["deepcluster_v2"]()
    state = start(case)
    small = case.batch | {"views": (*case.batch["views"], images(2)[:, :4, :4])}
    new, _ = jax.jit(case.method.step)(state, small, KEY)
    assert new.memory.bank.shape == (2, 16, 5) and not np.array_equal(new.memory.bank[0], new.memory.bank[1])


def test_before_the_first_clustering_there_is_nothing_to_learn():
    case = CASES["deepcluster_v2"]()
    state = start(case)
    state = state._replace(memory=state.memory._replace(assignments=jnp.full((2, 16), -1, jnp.int32)))
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    assert metrics["loss"] == 0
    close(new.online.params, state.online.params)


def pooled_of(state, batch):
    """A `collect` of the images of a batch, in the order of a shuffled set."""
    case = CASES["deepcluster_v2"]()
    order = np.random.default_rng(1).permutation(16)

    def collect(split, *taps):
        assert (split, taps) == ("train", ("pooled",))
        found = case.method.predict(state, batch["views"][0][order])
        return {"encoder": {"pooled": np.asarray(found["encoder"]["pooled"])}}, {"index": NUMBERS[order]}

    return collect


def test_the_first_clustering_sees_the_images_themselves():
    case = CASES["deepcluster_v2"]()
    state = start(case)
    refresh = refresh_clusters(PROJECTOR, numbers=NUMBERS)
    new = refresh(pooled_of(state, case.batch), state, 0, KEY)
    pooled = case.method.predict(state, case.batch["views"][0])["encoder"]["pooled"]
    net = state.online
    z = PROJECTOR.apply(net.params["projector"], net.stats["projector"], pooled, train=False)[0]["embedding"]
    np.testing.assert_allclose(new.memory.bank, np.stack([unit(np.asarray(z))] * 2), atol=1e-5)
    for head, key in enumerate(jax.random.split(KEY, 2)):
        centroids, found = spherical_k_means(key, new.memory.bank[0], clusters=3)
        assert np.array_equal(new.memory.assignments[head], found) and np.all(found >= 0)
        np.testing.assert_allclose(new.memory.centroids[head], centroids, atol=1e-6)
    assert not np.any(new.memory.seen)
    shapes = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]  # noqa: E731
    assert shapes(new) == shapes(state)


def test_later_ones_see_the_last_epoch_s_embeddings_each_head_those_of_its_view():
    case = CASES["deepcluster_v2"]()
    first = jax.tree.map(lambda x: x[:12], case.batch)  # an epoch that drops the last four
    state, _ = jax.jit(case.method.step)(start(case), first, KEY)
    new = refresh_clusters(PROJECTOR, numbers=NUMBERS, iterations=4)(None, state, 1, KEY)
    bank, kept = state.memory.bank, jnp.arange(16) < 12
    assert not np.array_equal(bank[0], bank[1])
    for head, key in enumerate(jax.random.split(KEY, 2)):
        centroids, found = spherical_k_means(key, bank[head], clusters=3, iterations=4, where=kept)
        np.testing.assert_allclose(new.memory.centroids[head], centroids, atol=1e-6)
        assert np.array_equal(new.memory.assignments[head], found) and np.all(found[12:] == -1)
    with pytest.raises(InputError, match=r"^prototypes=3 is not accepted: 2 images have been seen since the last clustering$"):
        few, _ = jax.jit(case.method.step)(start(case), jax.tree.map(lambda x: x[:2], case.batch), KEY)
        refresh_clusters(PROJECTOR, numbers=NUMBERS)(None, few, 1, KEY)


@pytest.mark.parametrize("options", [{"prototypes": 17}, {"heads": 0}, {"temperature": 0.0}, {"numbers": np.ones((2, 2))}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        CASES["deepcluster_v2"](**options)


def test_a_cluster_of_every_image_alone_tells_images_apart():
    """With centroids on the embeddings themselves: contrast within the set."""
    case = CASES["deepcluster_v2"](prototypes=16, heads=1)
    state = start(case)
    z = embeddings(state, case.batch["views"])
    own = state.memory._replace(centroids=jnp.asarray(z[:1], jnp.float32), assignments=jnp.arange(16, dtype=jnp.int32)[None])
    _, metrics = jax.jit(case.method.step)(state._replace(memory=own), case.batch, KEY)
    expected = -np.mean([np.diag(log_softmax(view @ z[0].T / 0.1)) for view in z])
    np.testing.assert_allclose(metrics["deepcluster"], expected, rtol=1e-4)
