import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, start
from siamese_cases import byol
from tiny_nets import LABELS, dropped, images

from kdjax import methods
from kdjax.core import InputError, chain, jit_fast_compile
from kdjax.evaluate import feature_spread, rank_me
from kdjax.models import conv_net, linear_head, mlp_head

KEY = jax.random.key(5)
ENCODER, PROJECTOR, PREDICTOR = conv_net((4,), None), mlp_head(6, 5), mlp_head(6, 5)
PROJECT = chain(encoder=ENCODER, projector=PROJECTOR)


@functools.cache
def run(steps=1, horizon=40, **options):
    case = byol(steps=horizon, **options)
    states, step, metrics = [start(case)], jax.jit(case.method.step), []
    for _ in range(steps):
        new, logged = step(states[-1], case.batch, KEY)
        states.append(new)
        metrics.append(logged)
    return case, states, metrics


def followed(state):
    return {name: state.online.params[name] for name in ("encoder", "projector")}


def apart(p, z):
    """`|p / |p| - z / |z||^2`, in which a row of zeros stays one: the dead units of an untrained projector."""
    p, z = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (np.float64(p), np.float64(z)))
    return np.sum((p - z) ** 2, -1)


def test_the_loss_is_the_sum_of_both_directions():
    """Each view in a pass of its own; batch statistics on both sides; target without predictor."""
    case, (state, new), (metrics,) = run()
    online, target = state.online, state.target
    p, z, own, other = [], [], online.stats, target.stats
    for view in case.batch["views"]:
        taps, projected = PROJECT.apply(online.params, own, view, train=True)
        out, predicted = PREDICTOR.apply(online.params["predictor"], own["predictor"], taps["embedding"], train=True)
        own = {**projected, "predictor": predicted}
        p.append(out["embedding"])
        taps, other = PROJECT.apply(target.params, other, view, train=True)
        z.append(taps["embedding"])
    loss = np.mean(apart(p[0], z[1]) + apart(p[1], z[0]))
    np.testing.assert_allclose(metrics["byol"], loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], loss + float(metrics["probe"]), rtol=1e-4)
    # Both sides keep statistics of their own passes; the target's are not averaged with the online ones.
    close({name: new.online.stats[name] for name in own}, own, atol=1e-5)
    close(new.target.stats, other, atol=1e-5)


def test_online_and_target_start_apart():
    _, (state, _), _ = run()
    assert not equal(followed(state), state.target.params)


def test_a_decay_of_one_leaves_the_target():
    _, states, _ = run(3, tau=1.0)
    assert equal(states[-1].target.params, states[0].target.params)
    assert not equal(states[-1].target.stats, states[0].target.stats)


def test_a_decay_of_zero_copies_what_the_online_network_has_just_learned():
    _, (state, new), _ = run(tau=0.0)
    close(new.target.params, followed(new), atol=1e-6)
    assert not equal(followed(new), followed(state))


def test_the_target_moves_towards_the_updated_online_network():
    _, (a, b, c), metrics = run(2, tau=0.9)
    for old, new, logged in ((a, b, metrics[0]), (b, c, metrics[1])):
        tau = float(logged["tau"])
        expected = jax.tree.map(lambda t, o, tau=tau: tau * t + (1 - tau) * o, old.target.params, followed(new))
        close(new.target.params, expected, atol=1e-6)


def test_the_decay_follows_the_step():
    _, _, metrics = run(5, horizon=4, tau=0.6)
    expected = [1 - 0.4 * (np.cos(np.pi * min(k, 4) / 4) + 1) / 2 for k in range(5)]
    np.testing.assert_allclose([m["tau"] for m in metrics], expected, atol=1e-6)


def test_the_alignment_of_the_representations_and_the_spread_of_the_embeddings_are_logged():
    case, (state, _), metrics = run()
    net, params, stats = chain(encoder=ENCODER, projector=PROJECTOR), state.online.params, state.online.stats
    taps, _ = net.apply(params, stats, case.batch["views"][0], train=True)
    np.testing.assert_allclose(metrics[0]["embedding_spread"], feature_spread(taps["embedding"]), rtol=1e-4)
    u, v = (
        np.float64(ENCODER.apply(state.online.params["encoder"], state.online.stats["encoder"], view, train=True)[0]["pooled"])
        for view in case.batch["views"]
    )
    apart = u / np.linalg.norm(u, axis=1, keepdims=True) - v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(metrics[0]["alignment"], np.mean(np.sum(apart**2, 1)), rtol=1e-4)


def test_the_probe_watches_without_touching():
    case, (state, new), _ = run()
    pure = methods.byol(ENCODER, PROJECTOR, PREDICTOR, optax.sgd(0.02), steps=40, tau=0.9)
    begun = jit_fast_compile(pure.init)(jax.random.key(0), case.batch, {})
    alone, metrics = jax.jit(pure.step)(begun, {"views": case.batch["views"]}, KEY)  # no labels at all
    assert "probe" not in metrics
    watched = new.online.params
    close(alone.online.params, {name: watched[name] for name in ("encoder", "projector", "predictor")}, atol=1e-7)
    close(alone.target, new.target, atol=1e-7)
    assert not equal(watched["probe"], state.online.params["probe"])
    images = case.batch["views"][0]
    assert "logits" in case.method.predict(new, images)["encoder"] and "logits" not in pure.predict(alone, images)["encoder"]


def test_the_probe_skips_unlabelled_rows():
    case, (state, _), _ = run()
    known = jnp.arange(16) < 6
    _, metrics = jax.jit(case.method.step)(state, case.batch | {"label": jnp.where(known, LABELS, -1)}, KEY)
    pooled = ENCODER.apply(
        *(part["encoder"] for part in (state.online.params, state.online.stats)), case.batch["views"][0], train=True
    )
    taps, _ = linear_head(4).apply(state.online.params["probe"], {}, pooled[0]["pooled"], train=True)
    rows = optax.softmax_cross_entropy_with_integer_labels(taps["logits"][:6], LABELS[:6])
    np.testing.assert_allclose(metrics["probe"], jnp.mean(rows), rtol=1e-4)


def test_what_is_shipped_is_the_encoder():
    case, (_, new), _ = run()
    params, stats = case.method.weights(new)["encoder"]
    assert equal(params, new.online.params["encoder"]) and equal(stats, new.online.stats["encoder"])


def test_nets_with_dropout_get_a_key():
    nets = map(dropped, (ENCODER, PROJECTOR, PREDICTOR))
    method, batch = methods.byol(*nets, optax.sgd(0.02), steps=40), byol().batch
    jax.eval_shape(method.step, jax.eval_shape(method.init, KEY, batch, {}), batch, KEY)


@pytest.mark.parametrize("options", [{"tau": 1.5}, {"tau": -0.1}, {"steps": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        byol(**options)


def test_a_single_row_is_refused_as_its_loss_would_be_zero_for_ever():
    """Batch norm takes the mean from each embedding: of one row nothing is left."""
    case = byol()
    one = jax.tree.map(lambda x: x[:1], case.batch)
    state = jax.eval_shape(case.method.init, KEY, one, {})
    with pytest.raises(InputError, match=r"^batch norm '.*' in training is given 1 row"):
        jax.eval_shape(case.method.step, state, one, KEY)


def test_without_predictor_and_slow_target_it_is_simsiam_without():
    """The first step behind which target and online network are one: `|u - v|^2 = 2 - 2 cos`, both directions."""
    batch = {"views": byol().batch["views"], "index": jnp.arange(16)}
    tx = optax.sgd(0.0)
    plain = methods.byol(ENCODER, PROJECTOR, None, tx, steps=40, tau=0.0)
    state, _ = jax.jit(plain.step)(jit_fast_compile(plain.init)(KEY, batch, {}), batch, KEY)
    other = methods.simsiam(ENCODER, PROJECTOR, None, tx)
    same = state._replace(target=None)
    _, metrics = jax.jit(plain.step)(state, batch, KEY)
    _, expected = jax.jit(other.step)(same, batch, KEY)
    np.testing.assert_allclose(metrics["byol"], 4 + 4 * expected["simsiam"], rtol=1e-4)


def test_without_predictor_and_slow_target_it_collapses():
    """Effective dimensions of the embeddings after 300 steps; heads have no batch norm, which would hold them apart for longer."""
    views = (images(), images() + 0.5 * images(1))
    batch = {"views": views, "index": jnp.arange(16)}
    bare = mlp_head(16, 8, norm=False)

    def dimensions(predictor):
        method = methods.byol(ENCODER, bare, predictor, optax.adam(0.05), steps=10**6, tau=0.0)
        many = jax.jit(lambda state: jax.lax.fori_loop(0, 300, lambda _, state: method.step(state, batch, KEY)[0], state))
        online = many(jit_fast_compile(method.init)(jax.random.key(0), batch, {})).online
        taps, _ = chain(encoder=ENCODER, projector=bare).apply(online.params, online.stats, views[0], train=True)
        return float(rank_me(taps["embedding"]))

    assert dimensions(None) < 1.1 < 1.25 < dimensions(bare)
