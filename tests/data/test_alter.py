import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.data import alter, array_source, in_bands, load, subset, with_channels
from kdjax.data.alter import ALTERATIONS

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
ROWS = array_source(IMAGES, np.array([2, 0, 1]))


def images(source, rows=(0, 1, 2)):
    return source.read(np.array(rows))["image"]


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_images_change_and_all_else_stays(kind):
    found, before = alter(ROWS, kind), ROWS.read(np.arange(3))
    after = found.read(np.arange(3))
    assert after["image"].dtype == np.uint8 and after["image"].shape == IMAGES.shape and (after["image"] != IMAGES).any()
    assert all((after[name] == before[name]).all() for name in before if name != "image")
    assert found.size == 3 and found.labels().tolist() == [2, 0, 1] and found.numbers().tolist() == [0, 1, 2]


def test_alterations_are_what_their_names_say():
    grey = IMAGES[..., 0].astype(int)
    assert (images(alter(ROWS, "inverted"))[..., 0] == 255 - grey).all()
    assert (images(alter(ROWS, "mirrored"))[0, :, 0, 0] == grey[0, :, 7]).all()
    assert (images(alter(ROWS, "rotated"))[0, 7, :, 0] == grey[0, :, 0]).all()  # the left side comes to lie below
    scrambled = images(alter(ROWS, "scrambled"))[..., 0]
    assert all(sorted(a.ravel()) == sorted(b.ravel()) for a, b in zip(scrambled, grey, strict=True))
    assert (scrambled[0, :2, :2] == grey[0, 2:4, 2:4]).all()  # block 5 of 16 comes first


def test_blocks_that_do_not_divide_the_side_keep_every_pixel():
    odd = array_source(np.arange(100, dtype=np.uint8).reshape(1, 10, 10, 1), np.zeros(1, int))
    assert sorted(images(alter(odd, "scrambled"), [0]).ravel()) == list(range(100))


def test_noise_belongs_to_the_row():
    grey = array_source(np.full((400, 8, 8, 1), 128, np.uint8), np.zeros(400, int))
    noisy = alter(grey, "noisy")
    assert (images(noisy, [7, 3])[1] == images(noisy, [3])[0]).all() and (images(noisy, [7])[0] != images(noisy, [3])[0]).any()
    assert (images(alter(subset(grey, np.array([5])), "noisy"), [0]) == images(noisy, [5])).all()
    deviation = images(noisy, range(400)).astype(float) - 128
    assert abs(deviation.mean()) < 2 and abs(deviation.std() - 61) < 1.5  # 64, cut off at two deviations either way


def test_channels():
    assert with_channels(ROWS, 1) is ROWS
    colour = images(with_channels(ROWS, 3))
    assert (colour == IMAGES).all() and colour.shape == (3, 8, 8, 3)
    red = array_source(np.array([[[[255, 0, 0]]]], np.uint8), np.zeros(1, int))
    assert images(with_channels(red, 1), [0]).tolist() == [[[[76]]]]
    with pytest.raises(InputError, match=r"^channels=2 is not accepted: expected 3, as its images have, 1 for grey"):
        with_channels(red, 2)


def test_another_alteration_is_refused():
    with pytest.raises(InputError, match=r"^alteration 'upside down' is not known; accepted: inverted, "):
        alter(load("digits").test, "upside down")


def test_images_that_are_not_square_are_not_rotated():
    wide = array_source(np.zeros((1, 4, 8, 1), np.uint8), np.zeros(1, int))
    assert images(alter(wide, "mirrored"), [0]).shape == (1, 4, 8, 1)
    with pytest.raises(InputError, match=r"^alteration='rotated' is not accepted: expected another one for images of 4x8"):
        alter(wide, "rotated")


def test_bands_are_linear_forms_of_grey_in_range():
    ramp = array_source(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), np.array([3]))
    found = images(in_bands(ramp, 6, deviation=0.0), [0]).reshape(256, 6).astype(float)
    grey = np.arange(256)
    slopes = np.array([np.polyfit(grey, band, 1)[0] for band in found.T])
    assert (np.abs(slopes) > 0.19).all() and (np.abs(slopes) <= 1).all() and len(np.unique(slopes)) == 6
    assert (slopes > 0).any() and (slopes < 0).any()
    assert np.abs(found - (found.mean(0) + np.outer(grey - grey.mean(), slopes))).max() < 1  # rounded, and nowhere cut off
    assert (images(in_bands(ramp, 4, deviation=0.0), [0]).reshape(256, 4) == found[:, :4]).all()
    assert in_bands(ramp, 6).read(np.array([0]))["label"].tolist() == [3]


def test_noise_of_bands_is_as_said_and_belongs_to_the_row():
    grey = array_source(np.full((300, 8, 8, 1), 128, np.uint8), np.zeros(300, int))
    noisy, still = (images(in_bands(grey, 4, deviation=d), range(300)).astype(float) for d in (0.02, 0.0))
    assert (np.abs((noisy - still).std((0, 1, 2)) - 0.02 * 255) < 0.1).all()
    assert abs(np.corrcoef(*(noisy - still)[..., :2].reshape(-1, 2).T)[0, 1]) < 0.03
    assert (images(in_bands(grey, 4, deviation=0.02), [7]) == noisy[7]).all()


def test_bands_are_of_grey_images():
    with pytest.raises(InputError, match=r"^source='images of 3 channels' is not accepted: expected images of one channel"):
        in_bands(with_channels(ROWS, 3), 6)
    for option, value in (("bands", 0), ("deviation", -0.1)):
        with pytest.raises(InputError, match=f"^{option}={value} is not accepted"):
            in_bands(ROWS, **{"bands": 6, option: value})
