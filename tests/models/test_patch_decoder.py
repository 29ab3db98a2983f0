import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import patch_decoder, sincos_positions

PLACES = np.array([[[1, 4, 0], [5, 2, 3]], [[2, 3, 4], [5, 0, 1]]], np.int32)  # of six patches in two rows


def inputs(seen=3):
    draw = np.random.default_rng(0).normal
    return {
        "front": jnp.asarray(draw(size=(2, 1, 5)), jnp.float32),
        "seen": jnp.asarray(draw(size=(2, seen, 5)), jnp.float32),
        "places": jnp.asarray(PLACES),
    }


def test_every_patch_is_in_its_place():
    """Without blocks each patch is its own: a linear layer of the normed token, learned where it is hidden."""
    net, x = patch_decoder(2, 1, width=8, depth=0, heads=2), inputs()
    params, stats = net.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(1), p.shape), params)
    found, _ = net.apply(params, stats, x, train=False)
    assert found["pixels"].shape == (2, 6, 4) and found["pixels"].dtype == jnp.float32
    p = jax.tree.map(np.float64, params)
    embedded = np.float64(x["seen"]) @ p["embed"]["kernel"] + p["embed"]["bias"]
    positions = sincos_positions((2, 3), 8)[0, 1:]
    for row, patch in np.ndindex(2, 6):
        place = PLACES[row].ravel()[patch]
        token = (embedded[row, place] if place < 3 else p["mask_token"][0, 0]) + positions[patch]
        token = (token - token.mean()) / np.sqrt(token.var() + 1e-6) * p["norm"]["scale"] + p["norm"]["bias"]
        np.testing.assert_allclose(found["pixels"][row, patch], token @ p["pixels"]["kernel"] + p["pixels"]["bias"], atol=1e-5)


def test_hidden_patches_are_made_from_the_seen_ones_and_those_in_front():
    net, x = patch_decoder(2, 3, width=8, depth=1, heads=2), inputs()
    params, stats = net.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape), params)
    see = jax.jit(lambda x: net.apply(params, stats, x, train=True)[0]["pixels"])
    before, hidden = see(x), PLACES.reshape(2, 6) >= 3
    for name in ("front", "seen"):
        after = see({**x, name: x[name] + 1})
        assert np.all(np.any(before != after, -1)[hidden])
    assert before.shape == (2, 6, 12)


@pytest.mark.parametrize("options", [{"patch": 0}, {"width": 10}, {"heads": 0}, {"depth": -1}, {"channels": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        patch_decoder(**{"patch": 2, "width": 8, "heads": 2} | options)
