import io

import numpy as np
import pytest
from made import encoded, pixels
from PIL import Image

from kdjax.core.check import InputError
from kdjax.data import Damaged
from kdjax.data.image import decode, fit, header


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG"])
def test_decode_and_header(channels, kind, tmp_path):
    image = pixels(1, channels=channels)[0]
    data = encoded(image, kind)
    (tmp_path / "a.image").write_bytes(data)
    for place in (data, tmp_path / "a.image", str(tmp_path / "a.image")):
        assert header(place, "x") == decode(place, "x").shape == (8, 8, channels)
        if kind != "JPEG":
            np.testing.assert_array_equal(decode(place, "x"), image)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_modes(mode, channels):
    file = io.BytesIO()
    Image.new(mode, (3, 2)).save(file, "TIFF")
    assert header(file.getvalue(), "x") == decode(file.getvalue(), "x").shape == (2, 3, channels)


def test_damage_is_named(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(encoded(pixels(1, size=32)[0])[:-300])
    assert header(file) == (32, 32, 1)
    with pytest.raises(Damaged, match=r"^image .*a.png: cannot be decoded, the file is damaged or no image; ") as error:
        decode(file, row=3)
    assert error.value.row == 3
    for read in (decode, header):
        with pytest.raises(Damaged, match=r"^record 5: cannot be decoded"):
            read(b"words", "record 5")
        with pytest.raises(Damaged, match=r"none.png: is no longer there"):
            read(tmp_path / "none.png")
        with pytest.raises(Damaged, match=r"cannot be read \(Is a directory\)"):
            read(tmp_path)


def test_more_than_8_bits_are_refused():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(file, "PNG")
    for read in (decode, header):
        with pytest.raises(InputError, match="x: has more than 8 bits a channel") as error:
            read(file.getvalue(), "x")
        assert not isinstance(error.value, Damaged)


def test_fit():
    image = pixels(1, size=6)[0]
    assert fit(image, (6, 6, 3), None, "x", others="y") is image  # broadcasting fills the channels
    assert fit(image, (4, 4, 1), 4, "x", others="y").shape == (4, 4, 1)
    with pytest.raises(
        InputError, match=r"^x: is 6x6, unlike y, 4x6 .height x width.: expected one size, or --config.data.image_size"
    ):
        fit(image, (4, 6, 1), None, "x", others="y")
    with pytest.raises(InputError, match=r"^x: is in colour, unlike y: expected grey images; z"):
        fit(pixels(1, size=6, channels=3)[0], (6, 6, 1), None, "x", others="y", colour="; z")
