import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.core.shapes import check_shapes


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
