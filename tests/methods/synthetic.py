"""What tests of data-free methods share: the nets of the reference files, and generators without a network."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from kdjax.core import Frozen, Net

KEY = jax.random.key(5)
GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def golden(name):
    return dict(np.load(GOLDEN / f"{name}.npz", allow_pickle=False))


def one_step(method, given, batch):
    """`(first State, State behind a step, metrics)`."""
    state = method.init(KEY, batch, given)
    return state, *jax.jit(method.step)(state, batch, KEY)


def easel(pictures):
    """A generator without a network: its parameters are the images, whatever the latents."""
    apply = lambda params, stats, z, *, train, key=None: ({"image": params}, stats)  # noqa: E731
    return Net(lambda key, z: (jnp.asarray(pictures), {}), apply)


def sgd():
    return optax.sgd(1.0)


def reference_net(g, who):
    """The network of a reference file: two convolutions, each before a batch norm in evaluation mode; and its weights."""

    def apply(params, stats, x, *, train, key=None):
        taps = {}
        for layer, stride in (("1", 1), ("2", 2)):
            numbers = ("NHWC", "HWIO", "NHWC")
            kernel = params[f"conv{layer}_kernel"]
            x = lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=numbers)
            taps[f"norm/bn{layer}"] = x
            row = lambda part, layer=layer: params[f"bn{layer}_{part}"].reshape(1, 1, 1, -1)  # noqa: E731
            mean, var = (stats[f"bn{layer}"][part].reshape(1, 1, 1, -1) for part in ("mean", "var"))
            x = jax.nn.relu((x - mean) / jnp.sqrt(var + 1e-5) * row("scale") + row("bias"))
        pooled = jnp.mean(x, (1, 2))
        return taps | {"pooled": pooled, "logits": pooled @ params["fc_kernel"] + params["fc_bias"].reshape(1, -1)}, stats

    params = {k.removeprefix(f"w_{who}_"): jnp.asarray(v) for k, v in g.items() if k.startswith(f"w_{who}_")}
    stats = {bn: {part: params.pop(f"{bn}_{part}") for part in ("mean", "var")} for bn in ("bn1", "bn2")}
    return Net(lambda key, x: (params, stats), apply), Frozen(params, stats)


def given_logits(**taps):
    """A net of nothing but given outputs: parameters are the taps, whatever the images."""
    arrays = {name: jnp.asarray(x, jnp.float32) for name, x in taps.items()}
    return Net(lambda key, x: (arrays, {}), lambda params, stats, x, *, train, key=None: (params, stats))


def recorded():
    """An optimiser that moves nothing; its state is the last gradient."""
    zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)  # noqa: E731
    return optax.GradientTransformation(zeros, lambda gradient, state, params=None: (zeros(gradient), gradient))
