"""Self-paced weights, against the authors' code and as what they minimise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import refused

from kdjax import losses

KINDS = ["log", "hard", "soft"]


@pytest.mark.parametrize("kind", KINDS)
def test_golden(golden, kind):
    g = golden("cudfkd/self_paced_weights")
    weights = losses.self_paced(g["losses"], age=float(g["hp_lamda"]), kind=kind)
    np.testing.assert_allclose(weights, np.abs(g[f"v_{kind}"]), atol=1e-6)


def penalty(v, age, kind):
    """What self-paced learning adds to the weighted loss: `v l + g(v)` is least at the weight."""
    if kind == "hard":
        return -age * v
    if kind == "soft":
        return age * (v**2 / 2 - v)
    u = 1 + np.exp(-age) - v
    return u * np.log(u) + v * np.log(np.maximum(v, 1e-300)) - age * v


@pytest.mark.parametrize("age", [0.5, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_where_its_regulariser_and_the_loss_are_least(kind, age):
    each, grid = np.array([0.0, 0.1, 0.4, 0.9, 1.7, 3.0, 8.0]), np.linspace(0, 1, 200001)
    least = [grid[np.argmin(grid * loss + penalty(grid, age, kind))] for loss in each]
    np.testing.assert_allclose(losses.self_paced(each, age=age, kind=kind), least, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_extremes_and_no_gradient(kind):
    weights = losses.self_paced(jnp.array([0.0, 1e4, jnp.inf]), age=1.5, kind=kind)
    assert weights.tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    moved = jax.grad(lambda x, a: jnp.sum(losses.self_paced(x, age=a, kind=kind)), argnums=(0, 1))(jnp.ones(3), 1.2)
    assert not moved[0].any() and not moved[1]


def test_with_age_all_count_alike():
    assert losses.self_paced(jnp.array([0.0, 1.0, 5.0]), age=1e4).tolist() == [1, 1, 1]
    assert losses.self_paced(jnp.ones((2, 3), jnp.bfloat16), age=1, kind="soft").dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.self_paced(np.ones(2), age=0), ["age=0", "above 0"]),
        (lambda: losses.self_paced(np.ones(2), age=1, kind="linear"), ["kind='linear'", "'log', 'hard' or 'soft'"]),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    refused(call, words)
