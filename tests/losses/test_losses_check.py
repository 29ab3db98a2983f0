import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.losses._check import check_number, check_positive, wide


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, True, "1", None, 1j, np.ones(1)])
def test_numbers_refused(value):
    with pytest.raises(InputError, match="weight="):
        check_positive("weight", value)


@pytest.mark.parametrize("value", [1, 0.5, np.float64(2), np.int32(3), jnp.bfloat16(2), jnp.float32(1)])
def test_numbers_accepted(value):
    check_positive("weight", value)
    jax.jit(lambda: check_positive("weight", value))()


def test_traced_numbers_pass_unchecked():
    jax.vmap(lambda w: check_number("weight", w, lambda v: False, "nothing"))(jnp.ones(2))


def test_wide():
    assert wide(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    assert wide(np.ones(2, np.uint8)).dtype == jnp.float32
    assert wide(3).dtype == jnp.float32
