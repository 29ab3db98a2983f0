import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.core.images import as_float, check_channels_last, inputs_as_float, inputs_of

PIXELS = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)


def test_as_float():
    np.testing.assert_allclose(as_float(jnp.asarray(PIXELS)), PIXELS / np.float32(255), atol=1e-7)
    assert as_float(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    with pytest.raises(InputError, match="int32"):
        as_float(jnp.ones(2, jnp.int32))


def test_bytes_are_scaled_and_all_else_passes():
    inputs = {"image": PIXELS, "other": (jnp.ones((1, 2, 2, 1), jnp.bfloat16), np.arange(6).reshape(2, 3)), "none": None, "one": 3}
    found = inputs_as_float(inputs)
    np.testing.assert_array_equal(found["image"], as_float(PIXELS))
    assert found["other"][0] is inputs["other"][0] and found["other"][1] is inputs["other"][1] and found["one"] == 3


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint16, np.bool_])
def test_images_in_other_whole_numbers_are_refused(dtype):
    with pytest.raises(InputError, match=f"^image of dtype {np.dtype(dtype).name} is not accepted: expected uint8, or floats"):
        inputs_as_float({"image": PIXELS.astype(dtype)})


def test_inputs_are_images_or_tokens_or_anything():
    assert inputs_of({"inputs": (1, 2), "label": 0}) == (1, 2) and inputs_of({"inputs": 1, "image": 2}) == 2
    with pytest.raises(InputError, match=r"^the batch has no image, tokens or inputs .* it has pixels$"):
        inputs_of({"pixels": 1})


@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (2, 1, 28, 28)])
def test_channels_in_front_are_refused(shape):
    with pytest.raises(InputError, match=r"expected \[B, H, W, C\]"):
        check_channels_last(np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 3, 3, 16), (2, 1, 30, 8), (2, 3, 2, 64), (3, 8, 8), (2, 28, 28, 1)])
def test_other_images_pass(shape):
    check_channels_last(np.zeros(shape))
