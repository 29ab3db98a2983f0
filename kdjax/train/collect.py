"""Outputs of a State's networks over a whole split."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from kdjax.augment import as_float
from kdjax.core import Method
from kdjax.data import padded_batches, take
from kdjax.train.members import over_members


def collector(method: Method, how: str, splits: dict[str, dict], batch: int = 256) -> Callable:
    """Makes `collect(state, split, *taps)`, compiled once for each split and choice of taps.

    It returns `({network: {tap: [members, N, ...]}}, labels [N])` as NumPy arrays, for the networks that the method trains and,
    with `given=True`, for those it was given (`"teacher"`).

    Args:
      method: whose `predict` is asked.
      how: how members run.
      splits: resident arrays by split.
      batch: rows a pass.
    """

    @jax.jit
    def images(arrays, rows):
        return as_float(take(arrays, rows)["image"])

    def run(taps, given, state, arrays, rows):
        def one(state):
            def predict(rows):
                outputs = method.predict(state, images(arrays, rows))
                asked = [n for n in outputs if given or n not in method.needs]
                # Plain dicts leave a compiled function in alphabetical order.
                return OrderedDict((n, {t: outputs[n][t] for t in taps if t in outputs[n]}) for n in asked)

            return None, lax.map(predict, rows)

        return over_members(one, how, state)(state)[1]

    compiled = jax.jit(run, static_argnums=(0, 1))

    def collect(state: Any, split: str, *taps: str, given: bool = False) -> tuple[dict, np.ndarray]:
        arrays = splits[split]
        rows, where = padded_batches(len(arrays["label"]), batch)
        outputs = compiled(taps, given, state, arrays, rows)
        flat = jax.tree.map(lambda x: np.asarray(x).reshape(x.shape[0], -1, *x.shape[3:])[:, where.reshape(-1)], outputs)
        return flat, np.asarray(arrays["label"])

    return collect
