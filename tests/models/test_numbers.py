"""Numbers that no network may hold, in whatever precision they are saved."""

import ml_dtypes
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models.pretrained.numbers import as_weight

WANT = np.zeros(2, np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_floating_numbers_become_those_of_the_net(dtype):
    found = as_weight("w", np.array([0.5, -2], dtype), "params/w", WANT)
    assert found.dtype == np.float32 and found.tolist() == [0.5, -2]
    with pytest.raises(InputError, match=r"^w holds numbers that are not finite$"):
        as_weight("w", np.array([0.5, np.nan], dtype), "params/w", WANT)


@pytest.mark.parametrize(
    ("x", "path", "line"),
    [
        (np.ones(2, np.int32), "params/w", "w is of type int32: expected floating numbers"),
        (np.ones(2, ml_dtypes.int4), "params/w", "w is of type int4: expected floating numbers"),
        (np.ones(2, bool), "params/w", "w is of type bool: expected floating numbers"),
        (np.ones(2, np.complex64), "params/w", "w is of type complex64: expected floating numbers"),
        (np.array([np.inf, 0]), "params/w", "w holds numbers that are not finite"),
        (np.array([1e300, 0]), "params/w", "w holds numbers that are not finite"),
        (np.array([-1e-3, 0]), "stats/bn/var", "w holds negative variances"),
    ],
)
def test_what_is_refused(x, path, line):
    with pytest.raises(InputError) as info:
        as_weight("w", x, path, WANT)
    assert str(info.value) == line


def test_a_counter_stays_whole():
    want = np.zeros((), np.int32)
    assert as_weight("n", np.int64(3), "stats/n", want).dtype == np.int32
    with pytest.raises(InputError, match="n is of type float64: expected whole numbers"):
        as_weight("n", np.float64(3), "stats/n", want)
