import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data import array_source, epoch_rows, padded_batches, resident, take

IMAGES = np.arange(7 * 2 * 2 * 1, dtype=np.uint8).reshape(7, 2, 2, 1)
SOURCE = array_source(IMAGES, np.arange(7), np.array([0, 2, 3, 5, 6]))


def test_holds_the_whole_source_as_it_is():
    arrays = resident(SOURCE)
    assert {k: (v.shape, v.dtype) for k, v in arrays.items()} == {
        "image": ((5, 2, 2, 1), jnp.uint8),
        "label": ((5,), jnp.int32),
        "index": ((5,), jnp.int32),
    }
    assert arrays["index"].tolist() == [0, 2, 3, 5, 6]
    np.testing.assert_array_equal(arrays["image"], IMAGES[[0, 2, 3, 5, 6]])


def test_can_be_put_on_a_named_device():
    device = jax.devices()[-1]
    assert resident(SOURCE, device=device)["image"].devices() == {device}


def test_take_in_a_scan_equals_reading_on_the_host():
    arrays = resident(SOURCE)
    rows = np.stack([epoch_rows(0, step, size=5, batch=2) for step in range(4)])
    _, batches = jax.jit(lambda rows: jax.lax.scan(lambda c, r: (c, take(arrays, r)), 0, rows))(rows)
    for step, r in enumerate(rows):
        for key, value in SOURCE.read(r).items():
            np.testing.assert_array_equal(batches[key][step], value)
            assert batches[key].dtype == value.dtype


@pytest.mark.parametrize(("n", "batch"), [(1, 1), (5, 3), (6, 3), (2, 7), (10, 1)])
def test_padded_batches_cover_every_row_once(n, batch):
    rows, where = padded_batches(n, batch)
    assert rows.shape == where.shape == (-(-n // batch), batch)
    assert rows.dtype == np.int32 and where.dtype == bool
    assert rows[where].tolist() == list(range(n))
    assert rows.max() < n


@pytest.mark.parametrize(("n", "batch", "line"), [(0, 3, "n=0"), (3, 0, "batch=0")])
def test_padded_batches_refusals(n, batch, line):
    with pytest.raises(InputError, match=line):
        padded_batches(n, batch)
