import jax
import jax.numpy as jnp
import numpy as np

from kdjax.core.blend import blend

X = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
PARTNER, SHARE = np.array([3, 0, 5, 1, 4, 2]), np.array([0.0, 0.25, 0.5, 0.75, 1.0, 0.1], np.float32)
WANTED = np.float64(SHARE)[:, None, None] * X + (1 - np.float64(SHARE))[:, None, None] * X[PARTNER]


def test_each_row_is_mixed_with_its_partner():
    np.testing.assert_allclose(blend(jnp.asarray(X), jnp.asarray(PARTNER), jnp.asarray(SHARE)), WANTED, atol=1e-6)
    one = blend(jnp.asarray(X), jnp.asarray(PARTNER), jnp.asarray([0.25]))
    np.testing.assert_allclose(one, 0.25 * X + 0.75 * X[PARTNER], atol=1e-6)


def test_partners_lie_on_other_devices_too():
    """Gradients flow to both rows: the weight that a row has in all mixtures."""

    def total(x):
        halves = (a.reshape(2, 3, *a.shape[1:]) for a in (x, jnp.asarray(PARTNER), jnp.asarray(SHARE)))
        return jax.vmap(lambda *half: blend(*half, axis_name="data"), axis_name="data")(*halves).reshape(X.shape)

    np.testing.assert_allclose(total(jnp.asarray(X)), WANTED, atol=1e-6)
    weight = SHARE + np.bincount(PARTNER, 1 - SHARE, 6)
    gradient = jax.grad(lambda x: jnp.sum(total(x)))(jnp.asarray(X))
    np.testing.assert_allclose(gradient, np.broadcast_to(weight[:, None, None], X.shape), atol=1e-6)
