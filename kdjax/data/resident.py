"""Sets that live on the device as a whole, and batches cut from them inside a compiled program."""

from typing import Any

import jax
import numpy as np

from kdjax.core.check import check_option
from kdjax.data.source import Source


def resident(source: Source, *, device: Any = None) -> dict[str, jax.Array]:
    """Puts a whole source on the device, once.

    Args:
      source: the rows to hold.
      device: a device or a sharding; None is the default device.

    Returns:
      `{"image": uint8 [N, H, W, C], "label": int32 [N], "index": int32 [N]}`.

    >>> from kdjax.data.load import load
    >>> resident(load("digits").test)["image"].shape
    (450, 8, 8, 1)
    """
    return jax.device_put(source.read(np.arange(source.size)), device)


def take(arrays: dict[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
    """The batch at `rows`; works inside `jit` and `scan`.

    Args:
      arrays: arrays with one leading axis `[N, ...]`, as `resident` gives them.
      rows: int32 `[B]`, 0 to N - 1.

    Returns:
      The same names, `[B, ...]`, dtypes unchanged.

    >>> take({"label": jax.numpy.array([5, 6, 7])}, jax.numpy.array([2, 0]))["label"].tolist()
    [7, 5]
    """
    return jax.tree.map(lambda x: x[rows], arrays)


def padded_batches(n: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows in order, in batches of one size, for evaluation.

    The last batch is filled up with its last row, and a mask tells the filling from the rows.

    Args:
      n: the number of rows, 1 or more.
      batch: rows a batch, 1 or more.

    Returns:
      `(rows, where)`: int32 and bool, both `[K, batch]` with K = ceil(n / batch). `rows[where]` is 0 .. n - 1.

    Raises:
      InputError: when `n` or `batch` is below 1.

    >>> rows, where = padded_batches(5, 3)
    >>> rows.tolist(), where.tolist()
    ([[0, 1, 2], [3, 4, 4]], [[True, True, True], [True, True, False]])
    """
    check_option("n", n, lambda x: x >= 1, "1 or more")
    check_option("batch", batch, lambda x: x >= 1, "1 or more")
    rows = np.arange(-(-n // batch) * batch, dtype=np.int32).reshape(-1, batch)
    return np.minimum(rows, n - 1), rows < n
