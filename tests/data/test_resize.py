import numpy as np
import pytest

from kdjax.data.resize import resize_crop


@pytest.mark.parametrize("shape", [(6, 12), (12, 6), (5, 7), (4, 4), (1, 9)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_square_of_the_right_size(shape, channels):
    out = resize_crop(np.full((*shape, channels), 7, np.uint8), 4)
    assert out.shape == (4, 4, channels) and out.dtype == np.uint8 and (out == 7).all()


def test_cuts_the_centre_of_the_longer_side():
    image = np.zeros((4, 12, 1), np.uint8)
    image[:, 4:8] = 200
    np.testing.assert_array_equal(resize_crop(image, 4), np.full((4, 4, 1), 200))
    np.testing.assert_array_equal(resize_crop(image.transpose(1, 0, 2), 4), np.full((4, 4, 1), 200))


def test_antialiased_when_shrinking():
    checks = np.indices((16, 16)).sum(0)[..., None] % 2 * 255
    out = resize_crop(checks.astype(np.uint8), 4)
    assert abs(out.astype(int) - 127).max() <= 16  # picking pixels would give 0 or 255


def test_equals_pillow_on_colour():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (10, 10, 3)).astype(np.uint8)
    whole = np.asarray(Image.fromarray(image).resize((7, 7), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_crop(image, 7), whole)
    assert resize_crop(image, 10) is image
