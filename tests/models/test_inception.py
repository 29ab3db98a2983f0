"""The Inception v3 of FID equals that of pytorch-fid on the same weights; what the golden file does not tell is here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import from_pytorch, inception, parameter_count, to_pytorch
from tests.golden.parity.make import images, kept, weight

GOLDEN = Path(__file__).parents[1] / "golden" / "parity" / "inception.npz"


@pytest.fixture(scope="module")
def blank():
    shapes = jax.eval_shape(inception().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32))
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


@pytest.fixture(scope="module")
def state_dict(blank):
    return {name: weight(name, x.shape) for name, x in to_pytorch("inception", *blank).items()}


def test_taps_are_those_of_pytorch(blank, state_dict):
    params, stats = from_pytorch("inception", state_dict, *blank)
    taps = jax.jit(lambda p, s, x: inception().apply(p, s, x, train=False)[0])(params, stats, images("inception"))
    jax.clear_caches()
    with np.load(GOLDEN) as golden:
        found = kept({tap: np.asarray(x) for tap, x in taps.items() if tap in golden.files})
        assert set(found) == set(golden.files) and {"stem", "stage1", "stage2", "stage3", "pooled", "logits"} <= set(found)
        for tap, expected in golden.items():
            largest = max(np.abs(golden[t]).max() for t in (tap, tap.removesuffix("_map")))
            assert found[tap].shape == expected.shape
            assert np.abs(found[tap] - expected).max() <= 2e-5 * largest, tap


def test_its_parameters_are_counted():
    # torchvision's 27,161,264 of 1000 classes, less the 3,326,696 of its second head, and 8 classes more
    assert parameter_count(inception(), (1, 32, 32, 3)) == 27_161_264 - 3_326_696 + 8 * 2049


def test_grey_images_are_seen_in_three_equal_channels(blank, state_dict):
    x, net = jax.random.uniform(jax.random.key(0), (1, 9, 7, 1)), inception(side=75)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    assert shapes[0]["conv1a"]["conv"]["kernel"].shape == (3, 3, 3, 32)

    @jax.jit
    def stem(params, stats, x):
        return net.apply(params, stats, x, train=False)[0]["stem"]

    weights = from_pytorch("inception", state_dict, *blank)
    found = stem(*weights, x)
    np.testing.assert_array_equal(found, stem(*weights, jnp.repeat(x, 3, -1)))
    assert found.std() > 0


@pytest.mark.parametrize(("options", "channels", "said"), [({"side": 74}, 3, "side=74"), ({"classes": -1}, 3, "classes=-1"),
                                                          ({}, 2, "images of 2 channels are not accepted")])  # fmt: skip
def test_wrong_input_is_one_line(options, channels, said):
    with pytest.raises(InputError, match=said):
        jax.eval_shape(inception(**options).init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))


def test_a_file_of_the_other_inception_is_refused(blank, state_dict):
    theirs = {**state_dict, "fc.weight": np.zeros((1000, 2048), np.float32), "fc.bias": np.zeros(1000, np.float32)}
    with pytest.raises(InputError, match=r"fc.weight is \(1000, 2048\) in the file, inception has \(1008, 2048\)"):
        from_pytorch("inception", theirs, *blank)
