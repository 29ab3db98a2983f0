"""Spectral norm: a layer whose kernel is divided by its largest singular value."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kdjax.core.unit import unit


class SpectralNorm(nn.Module):
    """A layer with its kernel `W`, as a matrix of all else to its outputs, divided by `sigma`, an estimate of its norm.

        v = W^T u / |W^T u|,  u <- W v / |W v| in training,  sigma = u^T W v

    with `u` kept from step to step, normal at first. One step of power iteration is enough, as the kernel moves little in a step.
    The gradient flows through `sigma`, with `u` and `v` held. In evaluation `u` stays as it is.

    Attributes:
      layer: a Linen layer with the parameter `"kernel"`, its last axis the outputs; its parameters keep their names.

    Reference: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, arXiv 1802.05957.

    >>> layer = SpectralNorm(nn.Dense(3))
    >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 4)), train=False)
    >>> layer.apply(variables, jnp.ones((2, 4)), train=False).shape
    (2, 3)
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """What the layer makes of `x`."""

        def divided(variables):
            params = variables.get("params", {})
            if "kernel" not in params:  # the layer is about to make them
                return variables
            return {**variables, "params": {**params, "kernel": self._divided(params["kernel"], train)}}

        call = nn.map_variables(lambda layer: layer(x), "params", divided, init=self.is_initializing(), mutable=True)
        return call(self.layer)

    def _divided(self, kernel: jax.Array, train: bool) -> jax.Array:
        matrix = kernel.reshape(-1, kernel.shape[-1]).T
        u = self.variable("spectral", "u", lambda: unit(jax.random.normal(self.make_rng("params"), matrix.shape[:1])))
        v = unit(lax.stop_gradient(matrix.T @ u.value))
        new = unit(lax.stop_gradient(matrix @ v)) if train else u.value
        if train and not self.is_initializing():
            u.value = new
        return kernel / jnp.maximum(new @ matrix @ v, 1e-12)
