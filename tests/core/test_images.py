import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.core.images import as_float, inputs_as_float

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
