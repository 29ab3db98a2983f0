import functools

import jax
import numpy as np
import optax
import pytest
from cases import CASES, close, equal, start
from first_step import KEY, unit

from kdjax import losses, methods
from kdjax.core import InputError, chain
from kdjax.models import conv_net, mlp_head

ENCODER, HEAD = conv_net((4,), None), mlp_head(6, 5)


@functools.cache
def first():
    case = CASES["lc_loss"]()
    state = start(case)
    return case, state, *jax.jit(case.method.step)(state, case.batch, KEY)


@functools.cache
def taps_of(online):
    """Of both views: predictions (or projections), and the local projector's maps."""
    case, state, _, _ = first()
    side = state.online if online else state.target
    row = {"encoder": ENCODER, "projector": HEAD} | ({"predictor": HEAD} if online else {})

    @jax.jit
    def see(params, stats, view):
        taps, _ = chain(**row).apply(params, stats, view, train=True)
        return taps["embedding"], HEAD.apply(params["local"], stats["local"], taps["stage1"], train=True)[0]["embedding"]

    return [see(side.params, side.stats, view) for view in case.batch["views"]]


def apart(p, z):
    return np.sum((unit(np.float64(p)) - unit(np.float64(z))) ** 2, -1)


def test_the_terms_are_byol_s_and_the_contrast_of_places():
    """The second view shows the left three quarters, mirrored."""
    _, _, _, metrics = first()
    (p1, a1), (p2, a2) = taps_of(True)
    (z1, b1), (z2, b2) = taps_of(False)
    np.testing.assert_allclose(metrics["byol"], np.mean(apart(p1, z2) + apart(p2, z1)), rtol=1e-4)
    middles, y = np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 2)
    forth, back = (np.stack([x, y], -1)[None].repeat(16, 0) for x in ((0.75 - middles) / 0.75, 0.75 - 0.75 * middles))
    assert np.all(forth[0, :, 6:, 0] < 0)  # the right quarter is not to be seen in it
    both = losses.local_contrast(a1, b2, forth, temperature=0.5), losses.local_contrast(a2, b1, back, temperature=0.5)
    np.testing.assert_allclose(metrics["local"], np.mean(both), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], metrics["byol"] + metrics["local"], rtol=1e-5)


def test_without_weight_it_is_byol():
    """One step of both, from the same weights."""
    _, state, _, _ = first()
    new, metrics = jax.jit(CASES["lc_loss"](weight=0.0).method.step)(state, CASES["lc_loss"]().batch, KEY)
    online, target = state.online, state.target
    method = methods.byol(ENCODER, HEAD, HEAD, optax.sgd(0.1), steps=40, tau=0.9)
    without = lambda tree: {name: part for name, part in tree.items() if name != "local"}  # noqa: E731
    bare = state._replace(
        online=online.replace(params=without(online.params), stats=without(online.stats)),
        target=target.replace(params=without(target.params), stats=without(target.stats)),
    )
    expected, logged = jax.jit(method.step)(bare, {"views": CASES["lc_loss"]().batch["views"]}, KEY)
    np.testing.assert_allclose(metrics["loss"], logged["loss"], rtol=1e-6)
    close(without(new.online.params), expected.online.params, atol=1e-6)
    close(without(new.target.params), expected.target.params, atol=1e-6)
    assert equal(new.online.params["local"], online.params["local"])


def test_the_local_projector_is_followed():
    _, state, new, _ = first()
    expected = jax.tree.map(lambda t, o: 0.9 * t + 0.1 * o, state.target.params["local"], new.online.params["local"])
    close(new.target.params["local"], expected, atol=1e-6)
    assert "predictor" not in new.target.params


@pytest.mark.parametrize("options", [{"tau": -0.1}, {"steps": 0}, {"temperature": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        CASES["lc_loss"](**options)


def test_views_without_geometry_are_refused():
    case, state, _, _ = first()
    with pytest.raises(InputError, match=r"^a batch has no 'geometry': expected views made with geometry=True"):
        jax.eval_shape(case.method.step, state, {"views": case.batch["views"]}, KEY)
