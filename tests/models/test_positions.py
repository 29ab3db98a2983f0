"""Positions: MAE's formula by hand, timm's interpolation, and what is refused."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import resize_positions, sincos_positions, vit
from kdjax.models.positions import grid_of
from tests.golden.parity.make import weight

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"


def test_sincos_one_number_at_a_time():
    table = sincos_positions((3, 5), 12, extra=2)
    assert table.shape == (1, 17, 12) and table.dtype == np.float32 and not table[0, :2].any()
    for row in range(3):
        for column in range(5):
            rates = [1 / 10000 ** (j / 3) for j in range(3)]
            expected = [f(place * w) for place in (column, row) for f in (np.sin, np.cos) for w in rates]
            np.testing.assert_allclose(table[0, 2 + 5 * row + column], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("grid", [(12, 14), (5, 3)])
def test_resized_as_by_timm(grid):
    params = {
        "positions": weight("pos_embed", (1, 66, 8)), "embed": {"kernel": np.zeros((4, 4, 3, 8))},
        "class_token": np.ones((1, 1, 8)), "distillation_token": np.ones((1, 1, 8)),
    }  # fmt: skip
    found = resize_positions(params, (4 * grid[0], 4 * grid[1]))
    with np.load(GOLDEN / "positions.npz") as golden:
        expected = golden[f"{grid[0]}x{grid[1]}"]
    np.testing.assert_allclose(found["positions"], expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(found["positions"][:, :2], params["positions"][:, :2])
    assert {k: v for k, v in found.items() if k != "positions"} == {k: v for k, v in params.items() if k != "positions"}


@pytest.mark.parametrize("distillation", [False, True])
def test_the_net_takes_the_new_images(distillation, drawn):
    net = vit(4, 8, 1, 2, 3, distillation=distillation)
    params, stats = drawn(net, jnp.zeros((1, 16, 16, 1)))
    same = resize_positions(params, 16)
    np.testing.assert_allclose(same["positions"], params["positions"], rtol=1e-6, atol=1e-7)
    images = jnp.ones((1, 24, 24, 1))
    taps = jax.eval_shape(lambda p: net.apply(p, stats, images, train=False)[0], resize_positions(params, 24))
    assert taps["patches"].shape == (1, 36, 8)


def test_what_cannot_be_resized_is_refused(drawn):
    params, _ = drawn(vit(4, 8, 1, 2, 3), jnp.zeros((1, 16, 8, 1)))
    with pytest.raises(InputError, match="positions of 8 patches are not those of a square image"):
        resize_positions(params, 16)
    with pytest.raises(InputError, match="images of 18x18 pixels are not filled by patches of 4x4"):
        resize_positions(params, 18)
    with pytest.raises(InputError, match="have no 'positions' to resize: expected those of vit, have a, b"):
        resize_positions({"a": 1, "b": 2}, 16)


def test_grid():
    assert grid_of((8, 12), 4) == (2, 3)
    with pytest.raises(InputError, match="images of 0x4 pixels"):
        grid_of((0, 4), 4)
