import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, start
from own_lessons import same_as_golden
from peer_lessons import KEY, divergence, handed_over, total
from tiny_nets import small, staged, without_batch_norm

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.mutual import okddip as file


def test_golden(golden, monkeypatch):
    """Of given targets; the gradient flows into them."""
    g = golden("okddip/train_gl")
    weight = (g["hp_alpha"] * g["hp_consistency_weight"]).item()
    given = handed_over(
        monkeypatch, file, methods.okddip, 4, weight=weight, temperature=g["hp_temperature"].item(), warmup_epochs=0
    )

    def loss(others, targets, leader):
        peers = [{"logits": z} for z in (leader, *jnp.moveaxis(others, -1, 0))]
        return total(*given, peers, g["labels"], {"targets": jnp.moveaxis(targets, -1, 0)})

    same_as_golden(g, loss, "logits_peers", "targets_peers", "logits_leader")


def test_of_attention_to_oneself_nothing_is_learnt(monkeypatch):
    objective, options = handed_over(monkeypatch, file, methods.okddip, 3)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4)), jnp.float32)

    def group(logits):
        peers = [{"logits": logits[0]}, *({"logits": z} for z in logits)]
        of_others = lambda seen, k: {"imitation": objective(seen, k)["imitation"]} if k else {}  # noqa: E731
        return total(of_others, options, peers, np.zeros(6, int), {"targets": logits})

    value, gradient = jax.value_and_grad(group)(logits)
    assert abs(value) < 1e-6 and np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("shared", [True, False])
def test_targets_are_those_of_the_attention(shared):
    """Of branches and of whole nets; the leader learns from the plain mean."""
    case = CASES["okddip"](shared=shared)
    state = start(case)
    assert (state.trunk is not None) == shared
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    found = case.method.weights(state)
    taps = [net.apply(*found[name], case.batch["image"], train=True)[0] for name, net in case.nets.items()]
    logits, h = (np.stack([np.float64(one[name]) for one in taps]) for name in ("logits", "pooled"))
    q, k = (h[1:] @ np.float64(state.adapter.params[name]["kernel"]) for name in ("queries", "keys"))
    a = np.exp(np.einsum("pbe,qbe->bpq", q, k))
    targets = np.einsum("bpq,qbc->pbc", a / a.sum(-1, keepdims=True), logits[1:])
    for peer, target in enumerate([logits[1:].mean(0), *targets]):
        np.testing.assert_allclose(metrics[f"peer{peer}_imitation"], divergence(logits[peer], target, 3.0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("nets", "words"),
    [
        ((staged(),) * 2, "peers=2 is not accepted: expected 3 or more, a leader and two others"),
        ((small(), small(), small(width=5)), "the peers have 4, 5 pooled features: expected as many of each"),
        ((without_batch_norm(),) * 3, None),
    ],
)
def test_whole_nets_need_as_many_features(nets, words):
    """And no stages, for nothing is shared."""
    make = lambda: methods.okddip(nets, optax.sgd(0.1), steps_per_epoch=1, shared=False)  # noqa: E731
    batch = CASES["okddip"]().batch
    if words is None:
        jax.eval_shape(make().init, KEY, batch, {})
        return
    with pytest.raises(InputError, match=f"^{words}"):
        jax.eval_shape(make().init, KEY, batch, {})
