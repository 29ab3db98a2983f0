import jax
import jax.numpy as jnp
import numpy as np
from skimage.color import hsv2rgb, rgb2hsv

from kdjax.augment import hsv_to_rgb, rgb_to_hsv

# All corners, edges' middles and the centre of the cube (greys, black, white, ties), then random colours.
CORNERS = np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * 3), axis=-1).reshape(1, -1, 3)
IMAGE = np.concatenate([CORNERS, np.random.default_rng(0).random((1, 200, 3))], axis=1).astype(np.float32)


def test_equals_scikit_image():
    hsv = np.asarray(jax.jit(rgb_to_hsv)(IMAGE))
    np.testing.assert_allclose(hsv, rgb2hsv(IMAGE), atol=2e-6)
    assert (hsv >= 0).all() and (hsv[..., 0] < 1).all() and (hsv <= 1).all()
    back = jax.jit(hsv_to_rgb)(hsv)
    np.testing.assert_allclose(back, hsv2rgb(hsv), atol=2e-6)
    np.testing.assert_allclose(back, IMAGE, atol=2e-6)


def test_gradient_is_finite_at_greys_and_black():
    def round_trip(image):
        return jnp.sum(hsv_to_rgb(rgb_to_hsv(image)))

    assert np.isfinite(jax.jit(jax.grad(round_trip))(jnp.asarray(IMAGE))).all()


def test_a_hue_just_below_red_is_no_full_circle():
    assert rgb_to_hsv(jnp.array([1.0, 0.0, 1e-12]))[0] == 0.0
