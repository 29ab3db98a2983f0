import jax
import numpy as np
import optax
import pytest
from cases import CASES, close, start
from peer_lessons import KEY, divergence, log_softmax
from tiny_nets import LABELS, staged

from kdjax import losses, methods
from kdjax.core import InputError

NETS = (staged(),) * 3


def test_each_branch_learns_from_the_mean_of_the_others():
    case = CASES["cl_ilr"](nets=NETS, weight=2.0, temperature=2.0)
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    found = case.method.weights(state)
    logits = [np.asarray(net.apply(*found[name], case.batch["image"], train=True)[0]["logits"]) for name, net in case.nets.items()]
    for k, own in enumerate(logits):
        target = np.mean([z for j, z in enumerate(logits) if j != k], axis=0)
        entropy = -log_softmax(own)[np.arange(16), np.asarray(LABELS)].mean()
        imitation = divergence(own, target, 2.0)
        np.testing.assert_allclose(metrics[f"peer{k}_imitation"], imitation, rtol=1e-3)
        np.testing.assert_allclose(metrics[f"peer{k}_loss"], entropy + 2 * imitation, rtol=1e-3)


def test_what_is_shared_goes_down_the_mean_of_the_gradients():
    """Without imitation each branch is a plain net, whose own layers go down the whole of theirs."""
    case = CASES["cl_ilr"](nets=NETS, weight=0.0, tx=optax.sgd(1.0))
    state = start(case)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    found = case.method.weights(state)

    @jax.jit
    @jax.grad
    def gradient(params, stats):
        taps, _ = NETS[0].apply(params, stats, case.batch["image"], train=True)
        return losses.cross_entropy(taps["logits"], LABELS).mean()

    each = [gradient(*found[f"peer{k}"]) for k in range(3)]
    mean = jax.tree.map(lambda *g: sum(g) / 3, *[{name: g[name] for name in state.trunk.params} for g in each])
    close(new.trunk.params, jax.tree.map(lambda p, g: p - g, state.trunk.params, mean), atol=1e-6)
    for k, peer in enumerate(state.peers):
        moved = jax.tree.map(lambda p, g: p - g, peer.params, {name: each[k][name] for name in peer.params})
        close(new.peers[k].params, moved, atol=1e-6)


@pytest.mark.parametrize(("nets", "words"), [(NETS[:1], "peers=1"), ((), "peers=0")])
def test_one_branch_is_refused(nets, words):
    with pytest.raises(InputError, match=f"^{words} is not accepted: mutual learning takes at least 2"):
        methods.cl_ilr(nets, optax.sgd(0.1), steps_per_epoch=1)
