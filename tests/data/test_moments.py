import numpy as np
import pytest
from made import encoded, pixels
from ml_collections import ConfigDict

from kdjax.data import array_source, channel_moments, load
from kdjax.data import moments as of_module
from kdjax.experiment.nets import net_specification


def of(images):
    return channel_moments(array_source(images, np.zeros(len(images), np.int32)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("chunk", [1, 100, 2**22])
def test_against_numpy(monkeypatch, channels, chunk):
    monkeypatch.setattr(of_module, "CHUNK", chunk)
    images = pixels(50, 6, channels)
    mean, std = of(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-9)
    assert mean.dtype == std.dtype == np.float64 and mean.shape == std.shape == (channels,)


def test_images_of_one_value_have_no_deviation():
    assert of(np.full((3, 7, 7, 1), 77, np.uint8)) == (77 / 255, 0)


@pytest.mark.parametrize(("pixels_", "fewest", "taken"), [(10**9, 1, 100), (60 * 4, 1, 60), (1, 30, 30)])
def test_a_large_set_is_measured_from_end_to_end(monkeypatch, pixels_, fewest, taken):
    """By images, and of large images by pixels; a set sorted by its classes of 0 and 255 in all of them."""
    for name, value in {"IMAGES": 100, "PIXELS": pixels_, "FEWEST": fewest}.items():
        monkeypatch.setattr(of_module, name, value)
    rows = []
    source = array_source(np.repeat(np.array([0, 255], np.uint8), 500).repeat(4).reshape(1000, 2, 2, 1), np.zeros(1000))
    watched = source._replace(read=lambda at: rows.extend(at.tolist()) or source.read(at))
    mean, std = channel_moments(watched)
    assert mean == 0.5 and std == 0.5
    assert rows.pop(0) == 0 and len(rows) == taken and (rows[0], rows[-1]) == (0, 999) and rows == sorted(rows)


def test_the_reader_does_not_change_the_network(tmp_path, monkeypatch):
    """Nor do images that cannot be decoded, where they are passed over."""
    monkeypatch.setattr(of_module, "IMAGES", 25)
    for i, image in enumerate(pixels(80, 5, 3)):
        file = tmp_path / f"c{i // 40}" / f"{i:02}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encoded(image // (1 + i // 40)) if i % 4 else b"words")
    nets, config = [], ConfigDict({"precision": "float32", "data": {"mean": (), "std": ()}})
    for reader in ("resident", "streaming"):
        dataset = load(f"folder:{tmp_path}", reader=reader, corrupt="skip", val_fraction=0.2)
        nets.append(net_specification({"name": "conv_net"}, dataset, config))
    assert nets[0] == nets[1] and len(nets[0]["mean"]) == 3
