"""What keeps the embeddings of a method apart, taken away: the same tiny run then uses fewer dimensions, by RankMe.

The controls of `byol` (and of `simsiam`, which is the same without a predictor), `msbreg` and `twist` are beside these methods.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny_nets import images, without_batch_norm

from kdjax import losses, methods
from kdjax.core import jit_fast_compile, unit
from kdjax.evaluate import rank_me
from kdjax.models import mlp_head

BATCH = {"views": (images(), images() + 0.5 * images(1)), "index": jnp.arange(16)}
ENCODER, PROJECTOR = without_batch_norm(16), mlp_head(16, 8, norm=False)


def learnt(steps, make, **swept):
    """Embeddings `[points, B, D]` and parameters behind so many steps, in one program for all points of what is swept."""

    def one(options):
        method = make(ENCODER, PROJECTOR, optax.adam(0.01), **options)
        state = method.init(jax.random.key(0), BATCH, {})
        state = jax.lax.fori_loop(0, steps, lambda k, state: method.step(state, BATCH, jax.random.key(k))[0], state)
        params, x = state.online.params, BATCH["views"][0]
        for net, name, tap in ((ENCODER, "encoder", "pooled"), (PROJECTOR, "projector", "embedding")):
            x = net.apply(params[name], {}, x, train=True)[0][tap]
        return x, params

    return jit_fast_compile(jax.vmap(one))({name: jnp.asarray(values) for name, values in swept.items()})


def test_vicreg_without_a_term():
    """Nothing varies without variances; without covariances dimensions say the same."""
    z, _ = learnt(100, methods.vicreg, variance=[25.0, 0.0, 25.0], covariance=[1.0, 1.0, 0.0])
    whole, still, alike = (float(np.std(x, 0).mean()) for x in z)
    assert still < 0.1 < 0.8 < min(whole, alike)
    assert rank_me(z[2]) < 2.6 < 3.4 < rank_me(z[0])


def test_swav_of_plain_softmax(monkeypatch):
    """Assignments that do not share prototypes out go to a single one."""
    shared = losses.sinkhorn

    def make(*nets, plain):
        either = lambda s, **o: jnp.where(plain, jax.lax.stop_gradient(jax.nn.softmax(s / o["epsilon"])), shared(s, **o))  # noqa: E731
        monkeypatch.setattr(losses, "sinkhorn", either)
        return methods.swav(*nets, steps_per_epoch=10, prototypes=8, frozen_epochs=0)

    z, _ = learnt(200, make, plain=[False, True])
    assert rank_me(z[1]) < 1.5 < 3 < rank_me(z[0])


def test_w_mse_of_what_is_not_whitened(monkeypatch):
    white = losses.whiten

    def make(*nets, plain):
        monkeypatch.setattr(losses, "whiten", lambda z, **o: jnp.where(plain, z, white(z, **o)))
        return methods.w_mse(*nets, size=16)

    z, _ = learnt(200, make, plain=[False, True])
    assert rank_me(z[1]) < 1.5 < 3 < rank_me(z[0])


def test_dino_without_a_centre_or_sharpening():
    """How many outputs are in use, of 8: one without a centre, all alike where the teacher is not sharper than the student."""

    def make(*nets, **options):
        fixed = {"steps": 10**6, "steps_per_epoch": 10, "outputs": 8, "warmup_epochs": 0, "momentum": 0.9, "frozen_epochs": 0}
        return methods.dino(*nets, **fixed, **options)

    z, params = learnt(300, make, centre_momentum=[0.9, 1.0, 0.9], teacher_temperature=[0.04, 0.04, 1.0])
    given = jax.nn.softmax(unit(z) @ unit(params["prototypes"]["kernel"], 1) / 0.1).mean(1)
    whole, one, all_alike = np.exp(-np.sum(given * np.log(given + 1e-9), -1))
    assert one < 1.1 < 1.5 < whole < 7.5 < 7.9 < all_alike
