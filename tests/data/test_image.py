import io
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from made import encoded, pixels
from PIL import Image

from kdjax.core.check import InputError
from kdjax.data import Damaged
from kdjax.data.image import decode, fit, header, unfilled


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


UPRIGHT = {  # what is seen, from the pixels as they lie in the file
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize(("kind", "channels"), [("PNG", 1), ("PNG", 3), ("JPEG", 1), ("JPEG", 3), ("WEBP", 3)])
@pytest.mark.parametrize("orientation", [*UPRIGHT, 0, 9])
def test_exif_orientation_is_applied_where_it_is_asked_for(kind, channels, orientation):
    file = encoded(pixels(1, channels=channels)[0][:6], kind, orientation)
    plain = decode(file)
    assert header(file) == plain.shape == (6, 8, channels)
    turned = decode(file, exif_orientation=True)
    np.testing.assert_array_equal(turned, UPRIGHT.get(orientation, UPRIGHT[1])(plain))
    assert header(file, exif_orientation=True) == turned.shape == ((8, 6) if 5 <= orientation <= 8 else (6, 8)) + (channels,)


def test_a_tiff_is_turned_once_as_pillow_turns_it():
    file = encoded(pixels(1, channels=3)[0][:6], "TIFF", 6)
    for on in (False, True):
        np.testing.assert_array_equal(decode(file, exif_orientation=on), UPRIGHT[6](pixels(1, channels=3)[0][:6]))
        assert header(file, exif_orientation=on) == (8, 6, 3)


def test_an_orientation_behind_the_pixels_counts_and_one_that_cannot_be_read_does_not():
    image = pixels(1)[0][:6]
    file = encoded(image, orientation=6)
    at = file.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(file[at : at + 4])
    late = file[:at] + file[end:-12] + file[at:end] + file[-12:]
    np.testing.assert_array_equal(decode(late, exif_orientation=True), UPRIGHT[6](image))
    assert header(late, exif_orientation=True) == (8, 6, 1)
    for read in (decode, header):
        with pytest.raises(Damaged, match="the file is damaged"):  # which is no tag that cannot be read
            read(encoded(pixels(1, size=32)[0])[:-300], exif_orientation=True)
    for exif in (b"", b"II", b"words and no tags", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02six\0" + bytes(4)):
        broken = io.BytesIO()
        Image.fromarray(image[..., 0]).save(broken, "PNG", exif=exif)
        np.testing.assert_array_equal(decode(broken.getvalue(), exif_orientation=True), image)
        assert header(broken.getvalue(), exif_orientation=True) == (6, 8, 1)


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


def deep_png(colour, channels):
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels_ = zlib.compress((b"\0" + bytes(4 * channels * 2)) * 4)
    head = struct.pack(">IIBBBBB", 4, 4, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixels_) + part(b"IEND", b"")


def tiff(shape, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros(shape, np.uint16), **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        *(deep_png(colour, channels) for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4))),
        *(f"P{kind}\n4 4\n{most}\n".encode() + bytes(96) for kind in (5, 6) for most in (256, 65535)),
        *(tiff((4, 4), compression=how) for how in (None, "zlib")),
        *(tiff((4, 4, 3), photometric="rgb", compression=how) for how in (None, "zlib")),
        tiff((3, 4, 4), photometric="rgb", planarconfig="separate"),
    ],
    ids=lambda data: f"{data[:2]!r} {len(data)}",
)
def test_more_than_8_bits_are_refused(data):
    """In grey and in colour alike, of which Pillow would cut the lower bits off without a word."""
    for read in (decode, header):
        with pytest.raises(InputError, match=r"^x: has more than 8 bits a channel.*: expected 8 bits") as error:
            read(data, "x")
        assert not isinstance(error.value, Damaged)


def test_16_bits_a_pixel_are_not_16_bits_a_channel():
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, 8, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    data = b"BM" + struct.pack("<IHHI", 74, 0, 0, 66) + head + bytes([255] * 8)  # a BMP of 5, 6 and 5 bits a channel
    assert decode(data, "x").tolist() == [[[255] * 3] * 2] * 2
    assert decode(b"P5\n1 1\n100\n\x64", "x").tolist() == [[[255]]]


def test_a_named_pipe_is_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (decode, header):
        with pytest.raises(Damaged, match=r"a.png: cannot be read \(a named pipe and no file\)"):
            read(tmp_path / "a.png")


def test_an_image_with_too_many_pixels_is_told(monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 30)
    with pytest.raises(Damaged, match=r"^x: is not decoded \(Image size \(64 pixels\) exceeds limit.*\); expected a smaller image"):
        decode(encoded(pixels(1)[0]), "x")


def test_room_for_images_is_held_against_memory(monkeypatch):
    monkeypatch.setattr("kdjax.core.memory.memory_available", lambda: 2**28)
    assert unfilled(2**18, (32, 32, 1)).shape == (2**18, 32, 32, 1)
    with pytest.raises(
        InputError, match=r"^3 images of 100000x100000x3 would take 83 GiB of memory, 256 MiB are free here: expected"
    ):
        unfilled(3, (100_000, 100_000, 3))
    with pytest.raises(InputError, match=r"^0 images of 3000000000x3000000000x3 would take "):
        unfilled(0, (3 * 10**9, 3 * 10**9, 3))


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
