"""Moving averages of parameters, and the schedules of their decay."""

from typing import Any

import jax
import jax.numpy as jnp


def ema(old: Any, new: Any, decay: jax.Array | float) -> Any:
    """`old + (1 - decay) (new - old)` for every array of two trees; each keeps its dtype.

    >>> float(ema(jnp.float32(1.0), jnp.float32(3.0), 0.5))
    2.0
    """
    return jax.tree.map(lambda o, n: (o + (1.0 - decay) * (n - o)).astype(o.dtype), old, new)


def cosine_to_one(step: jax.Array | int, steps: int, base: float) -> jax.Array:
    """BYOL's decay `1 - (1 - base) (cos(pi step / steps) + 1) / 2`: from `base` to 1 over the run.

    Reference: Grill et al., Bootstrap Your Own Latent, NeurIPS 2020 (arXiv 2006.07733).

    >>> [round(float(cosine_to_one(k, 10, 0.9)), 3) for k in (0, 5, 10)]
    [0.9, 0.95, 1.0]
    """
    fraction = jnp.clip(jnp.asarray(step, jnp.float32) / steps, 0.0, 1.0)
    return 1.0 - (1.0 - base) * (jnp.cos(jnp.pi * fraction) + 1.0) / 2.0
