import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.filters import gaussian

from kdjax.augment import gaussian_blur
from kdjax.core.check import InputError

RNG = np.random.default_rng(0)


# A tenth of the height makes 2 * radius + 1 taps; the width does not count.
@pytest.mark.parametrize(("shape", "radius"), [((28, 9, 1), 1), ((47, 20, 3), 2)])
def test_equals_scikit_image(shape, radius):
    image = RNG.random(shape, np.float32)
    blur = jax.jit(lambda sigma: gaussian_blur(jax.random.key(0), jnp.asarray(image), sigma=(sigma, sigma)))
    for sigma in (0.1, 0.8, 2.0):
        expected = gaussian(image, sigma, mode="constant", truncate=radius / sigma, channel_axis=-1)
        np.testing.assert_allclose(blur(sigma), expected, atol=2e-6)


def test_a_small_image_stays_sharp_unless_a_radius_is_given():
    image = RNG.random((8, 8, 1), np.float32)
    np.testing.assert_array_equal(gaussian_blur(jax.random.key(0), jnp.asarray(image)), image)
    out = gaussian_blur(jax.random.key(0), jnp.asarray(image), sigma=(1.0, 1.0), radius=3)
    np.testing.assert_allclose(out, gaussian(image, 1.0, mode="constant", truncate=3, channel_axis=-1), atol=2e-6)


def test_sigma_is_uniform_in_its_range():
    spot, rows = jnp.zeros((3, 3, 1)).at[1, 1].set(1.0), 1000
    keys = jax.random.split(jax.random.key(1), rows)
    out = np.asarray(jax.jit(jax.vmap(lambda k: gaussian_blur(k, spot, sigma=(0.5, 2.0), radius=1)))(keys))
    # The ratio of the side tap to the middle one is exp(-1 / (2 sigma^2)).
    sigma = np.sqrt(-0.5 / np.log(out[:, 1, 0, 0] / out[:, 1, 1, 0]))
    assert 0.499 < sigma.min() < 0.52 and 1.98 < sigma.max() < 2.001
    assert abs(sigma.mean() - 1.25) < 4 * 1.5 / np.sqrt(12 * rows)


def test_bad_options_are_refused():
    image = jnp.zeros((8, 8, 1))
    with pytest.raises(InputError, match="sigma="):
        gaussian_blur(jax.random.key(0), image, sigma=(2.0, 0.1))
    with pytest.raises(InputError, match="radius=-1"):
        gaussian_blur(jax.random.key(0), image, radius=-1)
