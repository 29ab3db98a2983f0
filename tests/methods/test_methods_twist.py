import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, equal, start
from first_step import KEY, NETS, first_step, log_softmax
from tiny_nets import images

from kdjax import methods
from kdjax.core import InputError, chain
from kdjax.models import conv_net, mlp_head


def log(p):
    return np.log(p + 1e-5)


def softmax(z):
    return np.exp(log_softmax(z))


def divergence(p, q):
    return np.mean(np.sum(p * (log(p) - log(q)), -1))


def entropies(p):
    """That of the images less that of the batch."""
    return -np.mean(np.sum(p * log(p), -1)) + np.sum(p.mean(0) * log(p.mean(0)))


def logits(side):
    return [taps["embedding"] for taps in side]


def test_two_views_without_a_slow_network():
    step = first_step("twist", together=True, momentum=None)
    p, q = (softmax(z) for z in logits(step.online))
    expected = (divergence(p, q) + divergence(q, p)) / 2 + (entropies(p) + entropies(q)) / 2
    np.testing.assert_allclose(step.metrics["twist"], expected, rtol=1e-3, atol=1e-6)
    assert step.new.target is None and "tau" not in step.metrics


def test_small_views_are_paired_with_each_large_one_and_not_with_each_other():
    case = CASES["twist"](momentum=None)
    large, small = case.batch["views"], [images(seed)[:, :4, :4] for seed in (2, 3, 4)]
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch | {"views": (*large, *small)}, KEY)
    params, stats = state.online.params, state.online.stats
    pooled = []
    for views in (large, small):  # of one size
        taps, _ = NETS["encoder"].apply(params["encoder"], stats["encoder"], jnp.concatenate(views), train=True)
        pooled.append(taps["pooled"])
    taps, _ = NETS["projector"].apply(params["projector"], stats["projector"], jnp.concatenate(pooled), train=True)
    p = [softmax(np.float64(z)) for z in np.split(taps["embedding"], 5)]
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)]
    each = [(divergence(p[a], p[v]) + divergence(p[v], p[a]) + entropies(p[a]) + entropies(p[v])) / 2 for a, v in pairs]
    np.testing.assert_allclose(metrics["twist"], np.mean(each), rtol=1e-3, atol=1e-6)


def test_a_slow_network_says_where_the_other_view_belongs():
    step = first_step("twist", together=True)
    (p, q), (t, u) = ([softmax(z) for z in logits(side)] for side in (step.online, step.target))
    expected = (divergence(t, q) + divergence(u, p)) / 2 + (entropies(p) + entropies(q)) / 2
    np.testing.assert_allclose(step.metrics["twist"], expected, rtol=1e-3, atol=1e-6)
    assert equal(step.state.target.params, {n: step.state.online.params[n] for n in step.state.target.params})
    slow = jax.tree.map(
        lambda t, o: 0.9 * t + 0.1 * o, step.state.target.params, {n: step.new.online.params[n] for n in step.new.target.params}
    )
    close(step.new.target.params, slow, atol=1e-6)


@pytest.mark.parametrize(("norm", "lam2", "classes"), [("none", 0.0, 1), ("none", 1.0, 4), ("plain", 0.0, 4)])
def test_all_classes_are_used_for_the_sake_of_the_loss_or_by_batch_norm_without_which_there_is_one(norm, lam2, classes):
    nets, views = (conv_net((8,), None), mlp_head(16, 4, last_norm=norm)), (images(), images() + 0.5 * images(1))
    method = methods.twist(*nets, optax.adam(0.02), steps=100, lam2=lam2)
    step, state = jax.jit(method.step), jax.jit(method.init)(jax.random.key(1), {"views": views}, {})
    for _ in range(100):
        state, _ = step(state, {"views": views}, KEY)
    taps, _ = chain(encoder=nets[0], projector=nets[1]).apply(state.online.params, state.online.stats, views[0], train=True)
    shares = softmax(np.float64(taps["embedding"])).mean(0)
    assert abs(np.exp(-np.sum(shares * np.log(shares + 1e-12))) - classes) < 0.5


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_the_surer_view_labels_the_other_one(share):
    step = first_step("twist_labels", together=True, share=share)
    one, two = logits(step.online)
    first = softmax(one).max(-1) > softmax(two).max(-1)
    weak, strong = np.where(first[:, None], one, two), np.where(first[:, None], two, one)
    kept = np.argsort(-softmax(weak).max(-1))[: int(share * len(weak))]
    expected = -np.mean(log_softmax(strong)[kept, weak.argmax(-1)[kept]])
    np.testing.assert_allclose(step.metrics["self_label"], expected, rtol=1e-4)


def test_the_share_goes_to_its_last_value():
    """At the last step, with that of the first."""
    case = CASES["twist_labels"](share=0.25, last_share=0.5)
    state = start(case)
    _, end = jax.jit(case.method.step)(state._replace(step=jnp.int32(40)), case.batch, KEY)
    half = first_step("twist_labels", together=True, share=0.5, last_share=0.9).metrics
    np.testing.assert_allclose(end["self_label"], half["self_label"], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("twist", {"momentum": 1.1}),
        ("twist", {"steps": 0}),
        ("twist", {"temperature": 0.0}),
        ("twist_labels", {"share": 0.0}),
        ("twist_labels", {"last_share": 1.2}),
        ("twist_labels", {"steps": 0}),
    ],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        start(case := CASES[name](**options))
        jax.eval_shape(case.method.step, jax.eval_shape(case.method.init, KEY, case.batch, {}), case.batch, KEY)
