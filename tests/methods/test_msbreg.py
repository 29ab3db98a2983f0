import jax
import numpy as np
import optax
import pytest
from cases import CASES, start
from first_step import KEY, first_step, unit
from tiny_nets import images

from kdjax import methods
from kdjax.core import InputError, Net, chain
from kdjax.evaluate import rank_me
from kdjax.models import conv_net, mlp_head


def embeddings(side):
    return np.stack([unit(taps["embedding"]) for taps in side])


def spread(z):
    """From the singular values of a view, in which a dead row is zeros."""
    share = np.linalg.svd(z, compute_uv=False) ** 2 / len(z)
    return z.shape[1] * np.sum((share - 1 / z.shape[1]) ** 2)


@pytest.mark.parametrize("per_view", [True, False])
def test_the_terms_are_those_of_the_embeddings(per_view):
    step = first_step("msbreg", per_view=per_view)
    z, target = embeddings(step.online), embeddings(step.target)
    near = z if per_view else z.mean(0, keepdims=True)
    np.testing.assert_allclose(step.metrics["centroid"], np.mean(np.sum((near - target.mean(0)) ** 2, -1)), rtol=1e-4)
    np.testing.assert_allclose(step.metrics["singular"], np.mean([spread(view) for view in z]), rtol=1e-4)
    whole = step.metrics["centroid"] + 0.5 * step.metrics["singular"] + 0.1 * step.metrics["walk"]
    np.testing.assert_allclose(step.metrics["loss"], whole, rtol=1e-5)


def test_a_random_walk_goes_elsewhere_with_every_key_and_is_no_loss_by_itself():
    case = CASES["msbreg"]()
    step, state = jax.jit(case.method.step), start(case)
    walks = [float(step(state, case.batch, jax.random.key(k))[1]["walk"]) for k in range(3)]
    assert len(set(walks)) == 3 and max(map(abs, walks)) < 0.5


def test_many_views_are_taken():
    case = CASES["msbreg"]()
    views = (*case.batch["views"], images(2), images(3))
    _, metrics = jax.jit(case.method.step)(start(case), case.batch | {"views": views}, KEY)
    assert np.isfinite(metrics["loss"])


def test_without_predictor_and_slow_network_the_singular_values_keep_embeddings_apart():
    """Drawn together alone, all of them end in one direction."""
    bare = Net(lambda key, x: ({}, {}), lambda params, stats, x, *, train, key=None: ({"embedding": x}, stats))
    nets, views = (conv_net((8,), None), mlp_head(16, 5, norm=False)), (images(), images() + 0.5 * images(1))

    def rank(singular):
        method = methods.msbreg(*nets, bare, optax.adam(0.01), steps=120, tau=0.0, singular=singular, walk=0.0)
        step, state = jax.jit(method.step), jax.jit(method.init)(KEY, {"views": views}, {})
        for _ in range(120):
            state, _ = step(state, {"views": views}, KEY)
        taps, _ = chain(encoder=nets[0], projector=nets[1]).apply(state.online.params, state.online.stats, views[0], train=True)
        return rank_me(unit(taps["embedding"]))

    alone, spread_out = rank(0.0), rank(1.0)
    assert alone < 1.5 and spread_out > 4, (alone, spread_out)


@pytest.mark.parametrize("options", [{"tau": 1.5}, {"steps": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        CASES["msbreg"](**options)
