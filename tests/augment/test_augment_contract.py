"""What every keyed transform keeps: one battery over all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import augment
from kdjax.core import InputError, jit_fast_compile

VIEW1, VIEW2 = augment.byol_views(12)
ANY = {  # these take any number of channels
    "pad_crop": lambda k, x: augment.pad_crop(k, x, padding=3, mode="reflect"),
    "random_resized_crop": lambda k, x: augment.random_resized_crop(k, x, size=12),
    "flip": augment.flip,
    "flip_upside": lambda k, x: augment.flip(k, x, upright=False),
    "random_turn": augment.random_turn,
    "band_jitter": lambda k, x: augment.band_jitter(k, x, each=True),
    "colour_jitter": augment.colour_jitter,
    "gaussian_blur": lambda k, x: augment.gaussian_blur(k, x, radius=2),
    "gaussian_noise": lambda k, x: augment.gaussian_noise(k, x, std=0.3),
    "cutout": lambda k, x: augment.cutout(k, x, size=5),
    "affine": augment.affine,
    "random_operations": augment.random_operations,
    "byol_view1": VIEW1,
    "byol_view2": VIEW2,
    "band_view": augment.band_views(12, radius=1, upside_p=0.5, turn_p=0.75)[0],
    "grey_view": augment.grey_views(noise=0.1, blur_p=0.5)[0],
}
ROWS = 12


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", ANY)
def test_contract(name, channels):
    transform = ANY[name]
    image = jax.random.uniform(jax.random.key(7), (12, 12, channels))
    other = jax.random.uniform(jax.random.key(8), image.shape)
    batch = jnp.stack([image] * ROWS)
    keys = jax.random.split(jax.random.key(1), ROWS).at[1].set(jax.random.split(jax.random.key(1), ROWS)[0])

    @jit_fast_compile
    def both(keys, images):
        return jax.vmap(transform)(keys, images), jax.lax.map(lambda row: transform(*row), (keys, images))

    mapped, single = both(keys, batch)
    assert mapped.shape == batch.shape and mapped.dtype == jnp.float32
    assert mapped.min() >= 0 and mapped.max() <= 1
    np.testing.assert_allclose(mapped, single, atol=2e-6)
    np.testing.assert_array_equal(mapped[0], mapped[1])  # the same key
    assert np.any(mapped[2:] != mapped[:1])  # different keys
    # Neither its place nor its neighbours change a row.
    moved, _ = both(jnp.roll(keys, 3), jnp.stack([other] * 5 + [image] + [other] * (ROWS - 6)))
    np.testing.assert_allclose(moved[5], mapped[2], atol=2e-6)
    assert np.any(moved[4] != mapped[1])


@pytest.mark.parametrize("name", ANY)
def test_refuses_what_is_not_one_float_image(name):
    for bad in (jnp.zeros((2, 8, 8, 3)), jnp.zeros((8, 8, 3), jnp.uint8)):
        with pytest.raises(InputError, match="image of "):
            jax.eval_shape(lambda bad=bad: ANY[name](jax.random.key(0), bad))


def test_public_names_exist_once():
    assert len(set(augment.__all__)) == len(augment.__all__)
    assert all(callable(getattr(augment, name)) for name in augment.__all__)
