import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.losses._check import check_number, check_positive, check_shapes, wide


def test_layouts_that_fit():
    sizes = check_shapes("B ... C", a=np.zeros((2, 4, 5, 3)), b=np.zeros((2, 4, 5, 3)))
    check_shapes("B C", sizes, c=np.zeros((2, 3)))
    check_shapes("... C", pooled=np.zeros(3))


@pytest.mark.parametrize(
    ("layout", "shapes"),
    [
        ("B", [(2, 1)]),
        ("B ... C", [(2,)]),
        ("B K", [(2, 3), (3, 2)]),
        ("B ... C", [(2, 4, 3), (2, 5, 3)]),
        ("B ... C", [(2, 4, 3), (2, 4, 4, 3)]),
        ("N N", [(2, 3)]),
    ],
)
def test_layouts_that_do_not_fit(layout, shapes):
    with pytest.raises(InputError) as refused:
        check_shapes(layout, **{f"array{i}": np.zeros(s) for i, s in enumerate(shapes)})
    message = str(refused.value)
    assert "\n" not in message
    assert all(str(s) in message for s in shapes)
    assert f"array{len(shapes) - 1}" in message


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
