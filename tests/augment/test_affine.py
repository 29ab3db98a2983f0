import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import transform

from kdjax.augment import affine, warp
from kdjax.core.check import InputError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("fill", "mode"), [("zero", "constant"), ("edge", "edge")])
def test_warp_equals_scikit_image(fill, mode):
    image = RNG.random((7, 10, 2), np.float32)
    moved = jax.jit(lambda matrix, shift: warp(jnp.asarray(image), matrix=matrix, shift=shift, fill=fill))
    for rotation, scale, shear, shift in [(0.3, 1.2, 0.2, (0.7, -1.4)), (-2.0, 0.6, -0.4, (2, 0)), (0, 1, 0, (0, 0))]:
        about = transform.AffineTransform(scale=scale, rotation=rotation, shear=shear)
        middle = np.array([4.5, 3.0])
        to_origin, back = (transform.AffineTransform(translation=t) for t in (-middle, middle + shift))
        expected = transform.warp(image, (to_origin + about + back).inverse, order=1, mode=mode)
        out = moved(jnp.asarray(about.params[:2, :2], jnp.float32), jnp.array(shift, jnp.float32))
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_affine_draws_from_the_stated_ranges():
    rows, limits = 1500, {"rotation": 0.35, "scale": (0.75, 1.25), "shear": 0.3, "shift": 1.0}
    x, y = np.meshgrid(np.arange(9.0), np.arange(9.0))
    ramp = jnp.asarray(np.stack([x, y], axis=-1), jnp.float32)  # each pixel tells where it came from
    keys = jax.random.split(jax.random.key(0), rows)
    out = np.asarray(jax.jit(jax.vmap(lambda k: affine(k, ramp, fill="edge", **limits)))(keys), np.float64)
    # The middle of the image is linear: the map's inverse, column by column.
    inverse = np.stack([out[:, 4, 5] - out[:, 4, 4], out[:, 5, 4] - out[:, 4, 4]], axis=-1)
    matrix = np.linalg.inv(inverse)
    shift = -np.einsum("nij,nj->ni", matrix, out[:, 4, 4] - 4.0)
    scale = np.hypot(matrix[:, 0, 0], matrix[:, 1, 0])
    angle = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])
    turn = np.stack([np.stack([np.cos(angle), np.sin(angle)], -1), np.stack([-np.sin(angle), np.cos(angle)], -1)], 1)
    rest = turn @ matrix / scale[:, None, None]
    np.testing.assert_allclose(rest[:, 1, 1], 1.0, atol=1e-4)
    for value, low, high in [
        (angle, -0.35, 0.35),
        (scale, 0.75, 1.25),
        (rest[:, 0, 1], -0.3, 0.3),
        (shift[:, 0], -1, 1),
        (shift[:, 1], -1, 1),
    ]:
        unit = (value - low) / (high - low)
        assert -1e-4 < unit.min() < 0.01 and 0.99 < unit.max() < 1 + 1e-4
        assert abs(unit.mean() - 0.5) < 4 / np.sqrt(12 * rows)


def test_nothing_to_draw_is_identity_and_bad_options_are_refused():
    image = jnp.asarray(RNG.random((5, 5, 1), np.float32))
    still = affine(jax.random.key(0), image, rotation=0.0, scale=(1.0, 1.0), shear=0.0, shift=0.0)
    np.testing.assert_array_equal(still, image)
    for options in ({"rotation": -1}, {"scale": (0.0, 1.0)}, {"shear": -1}, {"shift": -1}, {"fill": "wrap"}):
        with pytest.raises(InputError, match=f"{next(iter(options))}="):
            affine(jax.random.key(0), image, **options)
    with pytest.raises(InputError, match="matrix"):
        warp(image, matrix=jnp.eye(3), shift=jnp.zeros(2))
