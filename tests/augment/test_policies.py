import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import augment
from kdjax.augment import learned_policies, random_operations
from kdjax.augment.policies import LEARNED, POLICIES
from kdjax.core import InputError

IMAGE = jax.random.uniform(jax.random.key(3), (17, 17, 3))
ALL, ALWAYS = jnp.arange(14), jnp.full(14, 100.0)


@jax.jit
def policies(key, picked, logits=ALWAYS, magnitudes=jnp.zeros(11), image=IMAGE):
    return learned_policies(key, image, picked=picked, logits=logits, magnitudes=magnitudes)


def alone(name, key=0, magnitude=0.0):
    return policies(jax.random.key(key), jnp.array([POLICIES.index(name)]), magnitudes=jnp.full(11, magnitude))


def test_the_order_is_colour_geometry_fixed():
    assert POLICIES[:6] == ("brightness", "colour", "contrast", "sharpness", "posterise", "solarise")
    assert POLICIES[6:11] == ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    assert POLICIES[11:] == ("equalise", "invert", "cutout") and POLICIES[:11] == LEARNED


def either_sign(name, change):
    """Both signs are drawn, and give what `change` of -1 and 1 gives."""
    found = {sign: change(sign) for sign in (-1.0, 1.0)}
    drawn = [min(found, key=lambda s: float(jnp.abs(alone(name, k) - found[s]).max())) for k in range(8)]
    for k, sign in enumerate(drawn):
        np.testing.assert_allclose(alone(name, k), found[sign], atol=2e-5)
    assert set(drawn) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brightness", lambda s: augment.brightness(IMAGE, delta=0.45 * s, mode="scale")),
        ("contrast", lambda s: augment.contrast(IMAGE, factor=1 + 0.45 * s)),
        ("sharpness", lambda s: augment.sharpness(IMAGE, factor=1 + 0.45 * s)),
        ("colour", lambda s: jnp.clip(augment.to_grey(IMAGE) + (1 + 0.45 * s) * (IMAGE - augment.to_grey(IMAGE)), 0, 1)),
        ("shear_x", lambda s: augment.warp(IMAGE, matrix=jnp.array([[1, 0.15 * s], [0, 1]]), shift=jnp.zeros(2))),
        ("shear_y", lambda s: augment.warp(IMAGE, matrix=jnp.array([[1, 0], [0.15 * s, 1]]), shift=jnp.zeros(2))),
        ("translate_x", lambda s: augment.warp(IMAGE, matrix=jnp.eye(2), shift=jnp.array([0.225 * 17 * s, 0]))),
        ("translate_y", lambda s: augment.warp(IMAGE, matrix=jnp.eye(2), shift=jnp.array([0, 0.225 * 17 * s]))),
    ],
)
def test_signed_policies_at_half_strength(name, change):
    either_sign(name, change)


def test_rotation_is_by_15_degrees_at_half_strength():
    cos, sin = np.cos(np.pi / 12), np.sin(np.pi / 12)
    turn = lambda s: augment.warp(IMAGE, matrix=jnp.array([[cos, -s * sin], [s * sin, cos]]), shift=jnp.zeros(2))  # noqa: E731
    either_sign("rotate", turn)


def test_policies_without_a_sign():
    np.testing.assert_allclose(alone("posterise"), augment.posterise(IMAGE, bits=6), atol=1e-6)
    np.testing.assert_allclose(alone("solarise"), augment.solarise(IMAGE, threshold=0.5), atol=1e-6)
    np.testing.assert_allclose(alone("equalise"), augment.equalise(IMAGE), atol=1e-6)
    np.testing.assert_allclose(alone("invert"), 1 - IMAGE, atol=1e-6)
    assert 0 < int((alone("cutout") == 0).all(-1).sum()) <= 64


def test_magnitude_0_changes_nothing():
    for name in LEARNED:
        if name not in ("posterise", "solarise"):
            np.testing.assert_allclose(alone(name, magnitude=-30.0), IMAGE, atol=1e-5)
    np.testing.assert_allclose(alone("posterise", magnitude=-30.0), IMAGE, atol=0.5 / 255 + 1e-6)


def test_changes_add_up_and_coins_weigh_them():
    key = jax.random.key(1)
    names = ("invert", "posterise")
    changes = [alone(name, 1) - IMAGE for name in names]
    both = policies(key, jnp.array([POLICIES.index(name) for name in names]))
    np.testing.assert_allclose(both, IMAGE + sum(changes), atol=1e-5)
    np.testing.assert_array_equal(policies(key, ALL, logits=-ALWAYS), IMAGE)


def test_logits_are_log_odds():
    invert = jnp.array([POLICIES.index("invert")])
    one = lambda k: learned_policies(  # noqa: E731
        k, jnp.zeros((1, 1, 1)), picked=invert, logits=jnp.full(14, 1.0), magnitudes=jnp.zeros(11)
    )
    coins = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(jnp.mean(coins), 1 / (1 + np.exp(-1)), atol=0.03)
    assert np.mean((coins > 0.01) & (coins < 0.99)) < 0.1  # nearly heads or tails


@pytest.mark.parametrize("name", LEARNED)
def test_magnitudes_have_gradients(name):
    """Each that is picked has one, and no other."""
    picked = jnp.array([POLICIES.index(name)])
    slope = jax.grad(lambda m: jnp.sum(policies(jax.random.key(0), picked, magnitudes=m) ** 2))(jnp.full(11, 0.3))
    assert np.flatnonzero(slope).tolist() == [POLICIES.index(name)] and np.all(np.isfinite(slope))


def test_logits_have_gradients():
    slope = jax.grad(lambda q: jnp.sum(policies(jax.random.key(0), ALL[::2], logits=q) ** 2))(jnp.zeros(14))
    assert set(np.flatnonzero(slope)) <= set(range(0, 14, 2)) and np.any(slope)


def test_refusals():
    with pytest.raises(InputError, match=r"logits \(3,\) .* expected \(14,\) and \(11,\)"):
        learned_policies(jax.random.key(0), IMAGE, picked=ALL, logits=jnp.zeros(3), magnitudes=jnp.zeros(11))
    with pytest.raises(InputError, match="temperature=0"):
        learned_policies(jax.random.key(0), IMAGE, picked=ALL, logits=ALWAYS, magnitudes=jnp.zeros(11), temperature=0)


def test_random_operations_are_as_many_as_asked_for_and_happen_with_their_probability():
    image = jnp.clip(IMAGE, 0.3, 0.7)  # nearly every operation changes it

    def changed(**options):
        found = jax.jit(jax.vmap(lambda k: random_operations(k, image, **options)))(jax.random.split(jax.random.key(0), 300))
        return float(jnp.mean(jnp.any(found != image[None], axis=(1, 2, 3))))

    assert changed(count=0) == changed(p=0.0) == 0
    assert changed(p=1.0) > 0.97
    assert changed(count=1) == pytest.approx(0.5, abs=0.1) and changed(count=2) == pytest.approx(0.75, abs=0.1)
    with pytest.raises(InputError, match="count=-1"):
        random_operations(jax.random.key(0), IMAGE, count=-1)
