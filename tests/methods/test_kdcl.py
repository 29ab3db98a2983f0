import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, start
from scipy.optimize import minimize
from tiny_nets import CLASSES, LABELS, images, without_batch_norm

from kdjax import losses, methods
from kdjax.core import InputError
from kdjax.methods.mutual.kdcl import _best, _linear, general_shares, refresh_shares
from kdjax.models import conv_net

KEY = jax.random.key(5)
NETS = (without_batch_norm(), without_batch_norm(7), without_batch_norm(3))
HIT = np.arange(16), np.asarray(LABELS)


def log_softmax(z):
    z = np.float64(z)
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


def logits_of(case, state, *inputs):
    """Of the peers, on the images or each on a view of its own."""
    seen = inputs or [case.batch["image"]] * len(NETS)
    found = zip(NETS, state.peers, seen, strict=True)
    return np.stack([net.apply(peer.params, {}, x, train=True)[0]["logits"] for net, peer, x in found])


@pytest.mark.parametrize("target", ["naive", "min_logit"])
def test_loss_and_step_are_those_of_the_target(target):
    case = CASES["kdcl"](nets=NETS, target=target, weight=2.0)
    state = start(case)
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    logits = np.float64(logits_of(case, state))
    if target == "naive":
        chosen = log_softmax(logits)[:, *HIT].argmax(0)
        wanted = logits[chosen, np.arange(16)]
    else:
        wanted = (logits - logits[:, *HIT][..., None]).min(0)
    q = np.exp(log_softmax(wanted / 2))
    for k, net in enumerate(NETS):
        imitation = 4 * (q * (log_softmax(wanted / 2) - log_softmax(logits[k] / 2))).sum(-1).mean()
        entropy = -log_softmax(logits[k])[HIT].mean()
        np.testing.assert_allclose(metrics[f"peer{k}_imitation"], imitation, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(metrics[f"peer{k}_loss"], entropy + 2 * imitation, rtol=1e-4)
        slope = np.exp(log_softmax(logits[k])) - np.eye(CLASSES)[HIT[1]] + 2 * 2 * (np.exp(log_softmax(logits[k] / 2)) - q)
        pooled = np.asarray(net.apply(state.peers[k].params, {}, case.batch["image"], train=True)[0]["pooled"])
        np.testing.assert_allclose(state.peers[k].params["b"] - new.peers[k].params["b"], 0.5 * pooled.T @ slope / 16, atol=1e-6)


@pytest.mark.parametrize("target", ["naive", "linear", "min_logit", "general"])
def test_equal_peers_teach_each_other_nothing(target):
    nets = (without_batch_norm(), without_batch_norm())
    case = CASES["kdcl"](nets=nets, target=target)
    state = start(case)
    twins = state._replace(peers=(state.peers[0], state.peers[0]))
    new, metrics = jax.jit(case.method.step)(twins, case.batch, KEY)
    assert abs(metrics["peer0_imitation"]) < 1e-6 and abs(metrics["peer1_imitation"]) < 1e-6
    plain = methods.dml(nets, optax.sgd(0.5), weight=0.0)
    alone, _ = jax.jit(plain.step)(twins, case.batch, KEY)
    close(new.peers, alone.peers, atol=1e-6)


def test_each_peer_sees_a_view_of_its_own():
    case = CASES["kdcl"](nets=NETS, weight=0.0)
    views = (images(), images(1), images(2))
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch | {"views": views}, KEY)
    entropies = -log_softmax(logits_of(case, state, *views))[:, *HIT].mean(1)
    np.testing.assert_allclose([metrics[f"peer{k}_cross_entropy"] for k in range(3)], entropies, rtol=1e-5)


def test_rows_without_a_label_have_no_target():
    case = CASES["kdcl"](nets=NETS)
    state, step = start(case), jax.jit(case.method.step)
    _, half = step(state, case.batch | {"label": jnp.where(jnp.arange(16) < 8, LABELS, -1)}, KEY)
    _, first = step(state, jax.tree.map(lambda x: x[:8], case.batch), KEY)
    np.testing.assert_allclose(half["peer0_imitation"], first["peer0_imitation"], rtol=1e-5)


def test_the_best_is_of_each_row():
    logits = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    labels = jnp.array([0, 3, 2, 1, 0])
    best = losses.cross_entropy(_best(logits, labels), labels)
    np.testing.assert_allclose(best, np.min([losses.cross_entropy(z, labels) for z in logits], axis=0), rtol=1e-6)


def test_the_combination_has_the_least_cross_entropy_of_each_row():
    """Against a general solver; of some rows the best is one of the peers, of others it is none."""
    logits = np.random.default_rng(0).normal(size=(3, 12, 4)).astype(np.float32) * 3
    labels = np.arange(12) % 4
    found = _linear(jnp.asarray(logits), jnp.asarray(labels))

    def surprise(shares, row):
        return -log_softmax(shares @ np.float64(logits[:, row]))[labels[row]]

    least = []
    for row in range(12):
        options = {"bounds": [(0, 1)] * 3, "constraints": {"type": "eq", "fun": lambda a: a.sum() - 1}, "method": "SLSQP"}
        least.append(minimize(surprise, np.full(3, 1 / 3), args=(row,), **options).fun)
    ours = losses.cross_entropy(found, labels)
    np.testing.assert_allclose(ours, least, atol=0.01)
    alone = np.min([losses.cross_entropy(z, labels) for z in logits], axis=0)
    assert np.all(ours < alone + 0.01) and np.any(ours < alone - 0.05) and np.any(np.abs(np.subtract(least, alone)) < 1e-3)


def test_the_least_error_has_the_shares_of_the_inverse_covariance():
    """No other shares of sum 1 err less, and the images of the worst peer count least."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    hit = np.eye(4)[labels]
    logits = [4 * hit + noise * rng.normal(size=(200, 4)) for noise in (1.0, 1.5, 4.0)]
    shares = general_shares(logits, labels)
    errors = np.array([np.exp(log_softmax(z)) - hit for z in logits])

    def error(shares):
        return np.mean(np.sum(np.tensordot(shares, errors, 1) ** 2, -1))

    assert shares.sum() == pytest.approx(1) and shares.argmin() == 2
    for way in ([1, -1, 0], [0, 1, -1], [1, 1, -2]):
        assert min(error(shares + 0.05 * np.array(way)), error(shares - 0.05 * np.array(way))) > error(shares)
    np.testing.assert_allclose(general_shares(np.array([logits[0]] * 3), labels), np.full(3, 1 / 3), rtol=1e-5)
    unknown = np.concatenate([labels, [-1]])
    more = [np.concatenate([z, np.full((1, 4), 9.0)]) for z in logits]
    np.testing.assert_allclose(general_shares(more, unknown), shares, rtol=1e-6)


def test_the_general_target_has_the_shares_of_validation_images():
    """Found anew, kept by a step, also where the State lies inside that of a sweep."""
    case = CASES["kdcl"](nets=NETS, target="general")
    state = start(case)
    outputs = {name: {"logits": taps["logits"]} for name, taps in case.method.predict(state, case.batch["image"]).items()}
    collect = lambda split, tap: (outputs, {"label": np.asarray(LABELS)}) if split == "val" else None  # noqa: E731
    found = refresh_shares(collect, state, 0, KEY)
    shares = general_shares([taps["logits"] for taps in outputs.values()], LABELS)
    np.testing.assert_array_equal(found.adapter.stats["shares"], shares)
    within = refresh_shares(collect, {"hyper": jnp.ones(2), "inner": state}, 0, KEY)
    close(within["inner"], found)
    new, metrics = jax.jit(case.method.step)(found, case.batch, KEY)
    np.testing.assert_array_equal(new.adapter.stats["shares"], shares)
    logits = np.float64(logits_of(case, state))
    q = log_softmax(np.tensordot(np.float64(shares), logits, 1) / 2)
    imitation = 4 * (np.exp(q) * (q - log_softmax(logits[0] / 2))).sum(-1).mean()
    np.testing.assert_allclose(metrics["peer0_imitation"], imitation, rtol=1e-3)
    assert list(case.method.weights(state)) == ["peer0", "peer1", "peer2"]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"target": "all"}, "target 'all' is not known; accepted: "), ({"temperature": 0}, "temperature=0 is not accepted")],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=f"^{words}"):
        methods.kdcl(NETS, None, **options)  # pyright: ignore


def test_a_single_peer_is_refused():
    with pytest.raises(InputError, match=r"^peers=1 is not accepted: mutual learning takes at least 2"):
        methods.kdcl(NETS[:1], None)  # pyright: ignore


@pytest.mark.parametrize("make", [methods.dml, methods.kdcl])
def test_peers_of_unequal_classes_are_refused(make):
    method = make((NETS[0], conv_net((4,), 3)), optax.sgd(0.1))
    batch = CASES["kdcl"](nets=NETS).batch
    with pytest.raises(InputError, match=r"^the peers have 4, 3 classes: expected as many of each"):
        jax.eval_shape(method.step, jax.eval_shape(method.init, KEY, batch, {}), batch, KEY)


@pytest.mark.parametrize("name", ["dml", "kdcl", "hssakd"])
def test_peers_start_from_weights_by_their_names(name):
    case = CASES[name]()
    found = case.method.weights(start(case, 1))
    state = case.method.init(KEY, case.batch, {}, **found)
    close(case.method.weights(state), found)
    with pytest.raises(InputError, match="network 'peer9' is not known; accepted: peer"):
        case.method.init(KEY, case.batch, {}, peer9=found["peer0"])
