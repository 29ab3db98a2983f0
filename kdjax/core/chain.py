"""Networks in a row."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from kdjax.core.check import InputError
from kdjax.core.net import NORM, Net, at_of


def chain(*, taps: Mapping[str, str] | None = None, **nets: Net) -> Net:
    """Nets in a row by name: `chain(encoder=..., projector=..., predictor=...)`.

    The taps of all are kept, of those behind the first also as `"<name>/<tap>"`; where plain names meet, the later one's win.
    Params and stats are `{name: ...}`, and so `"norm/<path>"` becomes `"norm/<name>/<path>"`. With a family of nets among them
    (`Net.at`) the row is a family.

    Args:
      taps: name -> the tap of those before it that a net sees; else `"embedding"`, or `"pooled"` where there is none.
      **nets: in order; the first one sees the input.

    Raises:
      InputError: where a net is given no tap, or one that is not there.
    """
    named = dict(taps or {})

    def before(name, seen):
        tap = named.get(name, "embedding" if "embedding" in seen else "pooled")
        if tap not in seen:
            raise InputError(f"net {name!r} sees tap {tap!r} of those before it, which is not there; accepted: {', '.join(seen)}")
        return seen[tap]

    def add(seen, name, taps):
        behind = {f"{name}/{k}": v for k, v in taps.items() if seen and not k.startswith(NORM)}
        plain = {k.replace(NORM, f"{NORM}{name}/", 1) if k.startswith(NORM) else k: v for k, v in taps.items()}
        return {**seen, **plain, **behind}

    def init(key, x):
        params, stats, seen = {}, {}, {}
        for name, net, own in zip(nets, nets.values(), jax.random.split(key, len(nets)), strict=True):
            shape = before(name, seen) if seen else None
            hidden = x if shape is None else jnp.zeros(shape.shape, shape.dtype)
            params[name], stats[name] = net.init(own, hidden)
            seen = add(seen, name, jax.eval_shape(partial(net.apply, train=False), params[name], stats[name], hidden)[0])
        return params, stats

    def apply(params, stats, x, *, train, key=None):
        keys = [None] * len(nets) if key is None else jax.random.split(key, len(nets))
        seen, new = {}, {}
        for (name, net), own in zip(nets.items(), keys, strict=True):
            hidden = before(name, seen) if seen else x
            found, new[name] = net.apply(params[name], stats[name], hidden, train=train, key=own)
            seen = add(seen, name, found)
        return seen, new

    def again(*others):
        return chain(taps=taps, **dict(zip(nets, others, strict=True)))

    return Net(init, apply, at_of(again, *nets.values()))
