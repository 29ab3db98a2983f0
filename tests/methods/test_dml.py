import jax
import numpy as np
import pytest
from cases import close, equal, start, student_of, supervised, with_student
from mutual_cases import dml
from tiny_nets import LABELS, small, without_batch_norm

from kdjax import methods
from kdjax.core import InputError

KEY = jax.random.key(5)
NETS = (without_batch_norm(), without_batch_norm(7), without_batch_norm(3))


def log_softmax(z):
    z = np.asarray(z, np.float64)
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


def log_probabilities(state, images, temperature=1.0):
    outputs = (net.apply(peer.params, {}, images, train=True)[0] for net, peer in zip(NETS, state.peers, strict=True))
    return [log_softmax(np.asarray(taps["logits"]) / temperature) for taps in outputs]


def divergence(p, q):
    return np.mean(np.sum(np.exp(p) * (p - q), -1))


def test_without_imitation_the_peers_train_alone():
    case = dml(weight=0.0)
    state = start(case)
    plain = [supervised(), supervised(net=small(width=6))]
    alone = [with_student(start(p), peer.params, peer.stats) for p, peer in zip(plain, state.peers, strict=True)]
    step, steps = jax.jit(case.method.step), [jax.jit(p.method.step) for p in plain]
    for _ in range(3):
        state, _ = step(state, case.batch, KEY)
        alone = [one(s, case.batch, KEY)[0] for one, s in zip(steps, alone, strict=True)]
    close([(peer.params, peer.stats) for peer in state.peers], [student_of(s) for s in alone], atol=1e-7)


@pytest.mark.parametrize("simultaneous", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_each_peer_imitates_the_mean_of_the_others(simultaneous, temperature):
    """Peer k sees the predictions of peers before it as they are after their update, unless all move at once."""
    case = dml(nets=NETS, simultaneous=simultaneous, temperature=temperature, weight=2.0)
    state = start(case)
    new, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    old = log_probabilities(state, case.batch["image"], temperature)
    updated = log_probabilities(new, case.batch["image"], temperature)
    for k in range(3):
        others = [updated[j] if j < k and not simultaneous else old[j] for j in range(3) if j != k]
        imitation = temperature**2 * np.mean([divergence(p, old[k]) for p in others])
        np.testing.assert_allclose(metrics[f"peer{k}_imitation"], imitation, rtol=2e-4)
        entropy = -np.mean(log_probabilities(state, case.batch["image"])[k][np.arange(16), np.asarray(LABELS)])
        np.testing.assert_allclose(metrics[f"peer{k}_cross_entropy"], entropy, rtol=1e-5)
        np.testing.assert_allclose(metrics[f"peer{k}_loss"], entropy + 2 * imitation, rtol=1e-4)


def test_the_mean_of_the_others_is_one_target():
    case = dml(nets=NETS, simultaneous=True, target="mean", temperature=2.0)
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    logits = [
        np.asarray(net.apply(p.params, {}, case.batch["image"], train=True)[0]["logits"])
        for net, p in zip(NETS, state.peers, strict=True)
    ]
    for k in range(3):
        mean = (sum(logits) - logits[k]) / 2
        imitation = 4 * divergence(log_softmax(mean / 2), log_softmax(logits[k] / 2))
        np.testing.assert_allclose(metrics[f"peer{k}_imitation"], imitation, rtol=1e-4)


def test_the_gradient_stops_at_the_others():
    """The step of a peer is the one of its own loss: of the last layer, (p_k - y) + mean over the others of (p_k - p_j)."""
    case = dml(nets=NETS, simultaneous=True)
    state = start(case)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    p = [np.exp(x) for x in log_probabilities(state, case.batch["image"])]
    labels = np.eye(4)[np.asarray(LABELS)]
    for k, net in enumerate(NETS):
        pooled = np.asarray(net.apply(state.peers[k].params, {}, case.batch["image"], train=True)[0]["pooled"])
        slope = (p[k] - labels + sum(p[k] - p[j] for j in range(3) if j != k) / 2) / 16
        np.testing.assert_allclose(state.peers[k].params["b"] - new.peers[k].params["b"], 0.5 * pooled.T @ slope, atol=1e-6)


def test_one_after_another_differs_from_all_at_once():
    cases = [dml(nets=NETS, simultaneous=s) for s in (False, True)]
    a, b = (jax.jit(c.method.step)(start(c), c.batch, KEY)[0] for c in cases)
    close(a.peers[0], b.peers[0], atol=1e-7)
    assert not equal(a.peers[1], b.peers[1]) and not equal(a.peers[2], b.peers[2])


def test_equal_nets_start_from_weights_of_their_own():
    state = start(dml(nets=(NETS[0], NETS[0])))
    assert not equal(state.peers[0].params, state.peers[1].params)


def test_a_single_peer_is_refused():
    with pytest.raises(InputError, match=r"^peers=1 is not accepted: mutual learning takes at least 2"):
        methods.dml(NETS[:1], None)  # pyright: ignore


def test_an_unknown_target_is_refused():
    with pytest.raises(InputError, match=r"^target='all' is not accepted: expected 'pairwise' or 'mean'"):
        methods.dml(NETS, None, target="all")  # pyright: ignore
