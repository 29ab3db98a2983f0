"""The bridge from Flax NNX."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax

from kdjax.core.check import check_rows
from kdjax.core.module_outputs import arguments_of, sown, taps_of
from kdjax.core.net import Net
from kdjax.core.switch import ON, Switch, check_switch, switched, usual, without_switch


def from_nnx(
    make: Callable[[Any], Any],
    *,
    train: Switch | None = None,
    taps: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Net:
    """A Net over a `flax.nnx` module built by `make(rngs)`.

    A function, not a built module: a built one cannot be initialised again for another seed; `nnx_weights` gives the weights of a
    trained one. The module is called as `module(x)`, or `module(*x)` where `x` is a tuple, in training or evaluation mode by
    `module.train()` and `module.eval()`, and with those arguments of its `__call__` that have a usual name of a train switch (see
    `from_linen`), as they would overrule that mode. It returns its taps as there; what it sows as `nnx.Intermediate` is a tap
    `"<path>"`. Random streams are rebuilt from `key` at every `apply` and are never part of `stats`.

    Args:
      make: `rngs -> module`.
      train: as in `from_linen`.
      taps: as in `from_linen`.

    Raises:
      InputError: at `init` and `apply`, for a Linen module inside (`nnx.bridge.ToNNX`), which that mode does not reach, where there
        is no `train`; in training, for batch norm over a single row.
    """
    from flax import nnx

    check_switch(train)

    def holds_linen(module):
        return any(isinstance(layer, nnx.bridge.ToNNX) for _, layer in nnx.iter_modules(module))

    def built(key):
        module = make(nnx.Rngs(key))
        if train is None and holds_linen(module):
            raise without_switch(module, "a Linen module")
        return module

    def tell(module, on: bool) -> dict:
        nnx.Module.train(module) if on else nnx.Module.eval(module)  # the names of Flax's own layers
        for _, layer in nnx.iter_modules(module):
            for name in ON:
                if isinstance(vars(layer).get(name), bool):
                    setattr(layer, name, on)
        return switched(usual(inspect.signature(type(module).__call__).parameters), on) if train is None else dict(train(on))

    def init(key, x):
        del x  # NNX modules know their input sizes
        return nnx_weights(built(key))

    def apply(params, stats, x, *, train, key=None):
        graph, param_state, random, rest_state = nnx.split(
            built(jax.random.key(0) if key is None else key), nnx.Param, nnx.RngState, ...
        )
        nnx.replace_by_pure_dict(param_state, params)
        nnx.replace_by_pure_dict(rest_state, stats)
        module = nnx.merge(graph, param_state, random, rest_state)
        options = tell(module, train)
        for path, layer in nnx.iter_modules(module):
            if isinstance(layer, nnx.BatchNorm) and not layer.use_running_average:
                check_rows(jax.tree.leaves(x)[0].shape[0], layer.axis_name, f"batch norm {'/'.join(map(str, path))!r}")
        if holds_linen(module):  # a Linen module takes what `nnx.capture` puts into it for a variable of its own
            out, found = module(*arguments_of(x), **options), {}
        else:
            out, made = nnx.capture(module, nnx.Intermediate)(*arguments_of(x), **options)
            found = sown(nnx.to_pure_dict(made))
        found |= taps_of(out, taps)
        return found, nnx_weights(module)[1] if train else stats

    return Net(init, apply)


def nnx_weights(module: Any) -> tuple[Any, Any]:
    """The weights of a `flax.nnx` module, trained or not, as those of `from_nnx` of its kind: `(params, stats)`.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> module = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    >>> net, x = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs)), jnp.ones((1, 2))
    >>> bool(jnp.all(net.apply(*nnx_weights(module), x, train=False)[0]["logits"] == module(x)))
    True
    """
    from flax import nnx

    _, params, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, nnx.Intermediate, ...)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
