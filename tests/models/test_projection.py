import json

import jax
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError
from kdjax.models import parameter_count, projected

OWN = {"name": "conv_net", "widths": [4, 6], "classes": 0}
SPECIFICATION = {
    "name": "projected", "net": OWN, "tap": "stage2", "channels": 8, "size": [2, 3], "classes": 5, "factor": 4,
    "mean": [0.5], "std": [0.25], "dtype": "float32",
}  # fmt: skip
IMAGES = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1))


def test_a_specification_nests_the_net_s_and_survives_json(drawn):
    net = models.build(json.loads(json.dumps(SPECIFICATION)))
    params, stats = drawn(net, IMAGES)
    taps, _ = net.apply(params, stats, IMAGES, train=False)
    own, _ = models.build({**OWN, "mean": [0.5], "std": [0.25]}).apply(params["first"], stats["first"], IMAGES, train=False)
    np.testing.assert_array_equal(taps["stage2"], own["stage2"])
    assert taps["head"].shape == (3, 2, 3, 8)  # pooled from 4x4
    np.testing.assert_allclose(taps["pooled"], taps["head"].mean((1, 2)), rtol=1e-5)
    layer = stats["then"]["classifier"]
    np.testing.assert_allclose(taps["logits"], taps["pooled"] @ layer["kernel"] + layer["bias"][None], rtol=1e-5)


def test_training_moves_the_running_averages_and_not_the_linear_layer(drawn):
    net = models.build(SPECIFICATION)
    params, stats = drawn(net, IMAGES)
    _, new = net.apply(params, stats, IMAGES, train=True)
    np.testing.assert_array_equal(new["then"]["classifier"]["kernel"], stats["then"]["classifier"]["kernel"])
    assert not np.array_equal(new["then"]["batch_stats"]["bn3"]["mean"], stats["then"]["batch_stats"]["bn3"]["mean"])
    assert "classifier" not in params["then"] and "classifier" not in params["first"]


def test_a_smaller_map_is_not_stretched(drawn):
    net = projected(OWN, "stage2", 8, (16, 2), 5)
    taps, _ = net.apply(*drawn(net, IMAGES), IMAGES, train=False)
    assert taps["head"].shape == (3, 4, 2, 8)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_the_factor_narrows_the_middle(factor):
    own, inside = parameter_count(models.build(OWN), (1, 8, 8, 1)), 8 // factor
    layers = 6 * inside + 2 * inside + 9 * inside**2 + 2 * inside + inside * 8 + 2 * 8
    assert parameter_count(projected(OWN, "stage2", 8, (4, 4), 5, factor=factor), (1, 8, 8, 1)) == own + layers


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"factor": 3}, "factor=3 is not accepted: expected a divisor of channels=8"),
        ({"size": [4]}, "size="),
        ({"net": {"name": "conv_nett"}}, "net 'conv_nett' is not known"),
        ({"net": None}, "net 'projected': "),
    ],
)
def test_bad_specifications_are_refused(changed, said):
    with pytest.raises(InputError, match=said):
        models.build(SPECIFICATION | changed)


def test_weights_come_back_from_a_file(tmp_path, drawn):
    net = models.build(SPECIFICATION)
    params, stats = drawn(net, IMAGES)
    models.write_weights(tmp_path / "x.safetensors", params, stats, SPECIFICATION)
    found = models.read_weights(tmp_path / "x.safetensors")
    assert json.loads(found.metadata["kdjax"]) == SPECIFICATION
    np.testing.assert_array_equal(found.arrays["stats/then/classifier/kernel"], stats["then"]["classifier"]["kernel"])


def test_the_projector_starts_uniform_in_the_fan_in():
    net = models.build(SPECIFICATION | {"channels": 64})
    params = jax.jit(lambda key: net.init(key, IMAGES)[0]["then"])(jax.random.key(0))
    for number in (1, 2, 3):
        kernel = params[f"conv{number}"]["kernel"]
        assert 0.9 < np.abs(kernel).max() * np.sqrt(np.prod(kernel.shape[:3])) <= 1
