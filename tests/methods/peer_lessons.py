"""What tests of methods/mutual/ share: the objective that a method hands to its recipe, on bare logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny_nets import small

from kdjax.core import weights_at, with_label_weights
from kdjax.methods.recipes import PeerOutputs

KEY = jax.random.key(5)


def handed_over(monkeypatch: Any, file: Any, make: Callable, count: int, **options: Any) -> tuple[Callable, dict]:
    """The objective and the options that a method gives to the recipe of peers, with an epoch a step."""
    caught: list = []
    monkeypatch.setattr(file, "side_by_side", lambda nets, tx, objective, **given: caught.append((objective, given)))
    make((small(),) * count, optax.sgd(0.1), steps_per_epoch=1, **options)
    return caught[0]


def total(objective: Callable, options: dict, peers: Any, labels: Any, adapted: dict, epoch: int = 0) -> Any:
    """The weighted sum of all terms, of taps of peers."""
    batch = with_label_weights({"label": jnp.asarray(labels)})
    seen = PeerOutputs(tuple(peers), batch, KEY, jnp.int32(epoch), None, adapted)
    terms = [objective(seen, k) for k in range(len(peers))]
    terms += [options["together"](seen)] if options.get("together") else []
    factors = weights_at(options["weights"], seen.step)
    return sum(factors.get(name, 1.0) * jnp.mean(x) for one in terms for name, x in one.items())


def log_softmax(z: Any, temperature: float = 1.0) -> np.ndarray:
    z = np.float64(z) / temperature
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


def divergence(student: Any, target: Any, temperature: float) -> float:
    """`T^2 KL(target || student)` of logits, the mean over rows."""
    q, p = log_softmax(target, temperature), log_softmax(student, temperature)
    return temperature**2 * (np.exp(q) * (q - p)).sum(-1).mean()
