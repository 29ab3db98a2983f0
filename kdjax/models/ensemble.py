"""Several nets as one."""

import re
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.core.check import check_option
from kdjax.core.net import NORM, Net


def ensemble(
    nets: Sequence[Net], *, weights: Sequence[float] | None = None, combine: Literal["logits", "probabilities"] = "logits"
) -> Net:
    """Nets that answer together: the weighted mean of their logits, or the logarithm of that of their probabilities.

    Args:
      nets: one or more; each has its own input normalisation.
      weights: a number of at least 0 for each net, not all 0, of which shares are made; None: equal shares.
      combine: what is averaged.

    Returns:
      A Net whose params and stats are tuples, one entry a net, with the taps `"logits"` `[B, K]` (where all nets have them), and
      those of net k as `"teacher<k>/..."`, its batch norms' as `"norm/<k>/..."`.

    Raises:
      InputError: for no nets, or other weights.

    >>> from kdjax.models.conv_net import conv_net
    >>> both = ensemble([conv_net((4,)), conv_net((8,))])
    >>> params, stats = both.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> taps, _ = both.apply(params, stats, jnp.ones((2, 8, 8, 1)), train=False)
    >>> taps["logits"].shape, taps["teacher1/pooled"].shape
    ((2, 10), (2, 8))
    """
    check_option("nets", len(nets), lambda n: n > 0, "one net or more")
    check_option("combine", combine, lambda c: c in ("logits", "probabilities"), "'logits' or 'probabilities'")
    share = normalised_weights(len(nets), weights)

    def init(key, x):
        made = [net.init(jax.random.fold_in(key, k), x) for k, net in enumerate(nets)]
        return tuple(params for params, _ in made), tuple(stats for _, stats in made)

    def apply(params, stats, x, *, train, key=None):
        outputs = [
            net.apply(params[k], stats[k], x, train=train, key=None if key is None else jax.random.fold_in(key, k))
            for k, net in enumerate(nets)
        ]
        named = {_within(k, name): value for k, (taps, _) in enumerate(outputs) for name, value in taps.items()}
        if all("logits" in taps for taps, _ in outputs):
            named["logits"] = _combined([taps["logits"] for taps, _ in outputs], share, combine)
        return named, tuple(new for _, new in outputs)

    return Net(init, apply)


def pooled_together(net: Net) -> Net:
    """A net; an `ensemble` with the pooled features of all its nets in a row as the tap `"pooled"`, where they have such.

    >>> from kdjax.models.conv_net import conv_net
    >>> both = pooled_together(ensemble([conv_net((4,)), conv_net((8,))]))
    >>> weights = both.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    >>> both.apply(*weights, jnp.ones((2, 8, 8, 1)), train=False)[0]["pooled"].shape
    (2, 12)
    """

    def apply(params, stats, x, *, train, key=None):
        taps, new = net.apply(params, stats, x, train=train, key=key)
        parts = [value for name, value in taps.items() if re.fullmatch(_within(r"(\d+)", "pooled"), name)]
        return {**({"pooled": jnp.concatenate(parts, -1)} if parts else {}), **taps}, new

    return net._replace(apply=apply)


def normalised_weights(count: int, weights: Sequence[float] | None = None) -> tuple[float, ...]:
    """Weights made to sum to 1; equal ones where there are none.

    Raises:
      InputError: unless there are `count` numbers of at least 0, not all 0.

    >>> normalised_weights(2), normalised_weights(2, (3, 1))
    ((0.5, 0.5), (0.75, 0.25))
    """
    given = tuple(weights or (1.0,) * count)
    check_option(
        "weights", given, lambda w: len(w) == count and min(w) >= 0 and sum(w) > 0, f"{count} numbers of at least 0, not all 0"
    )
    return tuple(float(w) / sum(given) for w in given)


def _combined(logits: list[jax.Array], share: Sequence[float], combine: str) -> jax.Array:
    if combine == "logits":
        return sum(w * z for w, z in zip(share, logits, strict=True))  # type: ignore[return-value]
    parts = jnp.stack([jax.nn.log_softmax(z) for z in logits])
    return jax.nn.logsumexp(parts, axis=0, b=jnp.asarray(share, parts.dtype).reshape(-1, *(1,) * (parts.ndim - 1)))


def _within(k: int | str, name: str) -> str:
    # Batch norms are named by the place of their statistics.
    return f"{NORM}{k}/{name.removeprefix(NORM)}" if name.startswith(NORM) else f"teacher{k}/{name}"
