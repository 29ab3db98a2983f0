"""Logistic regression by SGD, of several learning rates side by side."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax.core.check import InputError, check_option
from kdjax.data import epoch_order, stratified
from kdjax.data.sampler import PROBE_SPLIT
from kdjax.evaluate._lbfgs import standardised


def check_sgd(rates: Sequence[float], epochs: int, batch: int, held_out: float, few: str) -> None:
    """Refuses options; `few` begins the line for a class of one row, where there is such a class."""
    check_option("rates", rates, len, "1 value or more")
    for rate in rates:
        check_option("rate", rate, lambda v: v > 0, "a number above 0")
    check_option("epochs", epochs, lambda n: n >= 1, "1 or more")
    check_option("batch", batch, lambda n: n >= 1, "1 or more")
    check_option("held_out", held_out, lambda f: 0 < f < 1, "a number above 0 and below 1")
    if few and len(rates) > 1:
        raise InputError(f"{few} a single rate")


def choose_rate(x: np.ndarray, y: np.ndarray, rates: Sequence[float], epochs: int, batch: int, held_out: float, seed: int) -> float:
    """Of ascending rates the one with the highest accuracy on held-out rows, the smallest of equals."""
    kept, cut = stratified(y, held_out, seed=seed, stream=PROBE_SPLIT)
    p = fit_sgd(x[kept], y[kept], x[cut], rates, epochs, batch, seed)
    right = (p.argmax(-1) == y[cut]) & np.isfinite(p).all(-1)
    return float(rates[int(np.argmax(right.mean(-1)))])


def fit_sgd(
    x: np.ndarray, y: np.ndarray, test: np.ndarray, rates: Sequence[float], epochs: int, batch: int, seed: int
) -> np.ndarray:
    """The probabilities of the test rows by each rate, `[R, M, K]`, by fits to rows of all classes, `y` of 0 to K - 1."""
    x, test = standardised(x, test)
    batch = min(batch, len(x))
    steps = len(x) // batch
    rows = np.concatenate([epoch_order(seed, epoch, len(x))[: steps * batch].reshape(steps, batch) for epoch in range(epochs)])
    scaled = np.float32(np.asarray(rates) * batch / 256)
    return np.asarray(_fit(np.float32(x), y, np.float32(test), rows, scaled, classes=int(y.max()) + 1))


@partial(jax.jit, static_argnames="classes")
def _fit(x, y, test, rows, rates, *, classes):
    def loss(params, now):
        weights, bias = params
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x[now] @ weights + bias[None], y[now]))

    def one(rate):
        tx = optax.sgd(optax.cosine_decay_schedule(rate, len(rows)), momentum=0.9, nesterov=True)

        def step(carry, now):
            params, opt = carry
            updates, opt = tx.update(jax.grad(loss)(params, now), opt)
            return (jax.tree.map(jnp.add, params, updates), opt), None

        start = jnp.zeros((x.shape[1], classes)), jnp.zeros(classes)
        ((weights, bias), _), _ = jax.lax.scan(step, (start, tx.init(start)), rows)
        return jax.nn.softmax(test @ weights + bias[None])

    return jax.vmap(one)(rates)
