import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, start
from own_lessons import KEY
from tiny_nets import CLASSES, LABELS, images, staged

from kdjax import losses, methods
from kdjax.core import InputError
from kdjax.methods.self_distil.mixskd import with_mixtures
from kdjax.models import exits, mlp_head


def mixed_batch(share):
    return {"image": images(), "label": LABELS, "share": jnp.full(16, share)}


def passed(state, batch):
    """The logits and maps of the exit and the network on images and mixtures, in training mode, as `[images, mixtures]`."""
    params, stats = state.learner.params, state.learner.stats
    rows = with_mixtures(batch)["image"]
    taps, _ = staged().apply(params["student"], stats["student"], rows, train=True)
    heads = exits({"name": "conv_net", "classes": CLASSES})
    taps |= heads.apply(params["heads"], stats["heads"], taps, train=True)[0]
    order = np.concatenate([np.arange(32).reshape(8, 4)[:, part].ravel() for part in (slice(0, 2), slice(2, 4))])
    return [
        [np.asarray(taps[name], np.float64)[order] for name in names] for names in (("exit1", "logits"), ("exit1_map", "stage2"))
    ]


def test_a_step_has_the_terms_of_the_loss_with_neighbours_mixed():
    """Self-teacher and discriminators in NumPy, as the paper has them on whole maps."""
    case = CASES["mixskd"]()
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state, case.batch, KEY)
    share = float(jax.random.beta(jax.random.fold_in(KEY, 4), 0.4, 0.4))
    logits, maps = passed(state, mixed_batch(share))
    adapter, rows = jax.tree.map(np.float64, state.learner.params["adapter"]), np.arange(16) ^ 1
    both = [(share * f[:16] + (1 - share) * f[:16][rows], f[16:]) for f in maps]

    def teacher(fs):
        x = np.concatenate(fs, axis=-1) @ adapter["self_teacher"]["linear1"]["kernel"]  # a 1x1 convolution
        last = adapter["self_teacher"]["linear2"]
        return x.mean((1, 2)) @ last["kernel"] + last["bias"]

    def score(k, f):
        one, two = (adapter[f"discriminator{k}"][f"linear{n}"] for n in (1, 2))
        return np.maximum(f.mean((1, 2)) @ one["kernel"] + one["bias"], 0) @ two["kernel"] + two["bias"]

    taught = [jnp.asarray(teacher(fs), jnp.float32) for fs in zip(*both, strict=True)]
    low = lambda xs: [jnp.asarray(x, jnp.float32) for x in xs]  # noqa: E731
    wanted = losses.mixskd_terms(low(logits), low(maps), taught[0], taught[1], LABELS, jnp.asarray(rows), share)
    told = sum(losses.told_apart(low([score(k, pair[0])])[0], low([score(k, pair[1])])[0]) for k, pair in enumerate(both, 1))
    for name, term in {**wanted, "discriminators": told}.items():
        np.testing.assert_allclose(metrics[name], jnp.mean(term), rtol=1e-3, err_msg=name)


def test_at_a_share_of_1_maps_and_divergences_of_exits_are_0():
    """What is left is the self-teacher, imitated twice."""
    state = start(CASES["mixskd"]())
    logits, maps = passed(state, mixed_batch(1.0))
    for x in (*logits, *maps):
        np.testing.assert_array_equal(x[:16], x[16:])
    low = [jnp.asarray(x, jnp.float32) for x in logits]
    ensemble = jax.random.normal(KEY, (16, CLASSES))
    found = losses.mixskd_terms(
        low, [jnp.asarray(x, jnp.float32) for x in maps], ensemble, ensemble, LABELS, jnp.arange(16) ^ 1, 1.0
    )
    assert not found["maps"].any()
    imitated = losses.kl_distillation(low[1][:16], ensemble, temperature=3.0)
    np.testing.assert_allclose(found["divergence"], 2 * imitated, rtol=1e-5)


def test_without_mixed_labels_the_self_teacher_is_not_trained():
    """As in the authors' script for CIFAR; discriminators are."""
    case = CASES["mixskd"](mixed_weight=0.0)
    state = start(case)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    before, after = (x.learner.params["adapter"] for x in (state, new))
    same = lambda name: jax.tree.all(jax.tree.map(np.array_equal, before[name], after[name]))  # noqa: E731
    assert same("self_teacher") and not same("discriminator1")


def test_layers_have_the_sizes_of_the_authors_code():
    """Of a ResNet-18 at 100 classes: 2048 to 512 channels without bias, 512 to 100; 512 to 128 to 2."""
    count = lambda net, width: sum(x.size for x in jax.tree.leaves(jax.eval_shape(net.init, KEY, jnp.zeros((2, width)))[0]))  # noqa: E731
    teacher = mlp_head(512, 100, norm=False, hidden_bias=False, out_bias=True, activation="identity")
    assert count(teacher, 2048) == 2048 * 512 + 512 * 100 + 100
    assert count(mlp_head(128, 2, norm=False, out_bias=True), 512) == 65_922


def test_rows_are_mixed_in_twos():
    found = with_mixtures({"image": jnp.arange(4.0).reshape(4, 1, 1, 1), "label": jnp.arange(4), "share": jnp.full(4, 0.75)})
    assert found["label"].tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert found["image"].reshape(-1).tolist() == [0, 1, 0.25, 0.75, 2, 3, 2.25, 2.75]
    with pytest.raises(InputError, match="a batch has 3 rows: expected an even number"):
        with_mixtures({"image": jnp.zeros((3, 2, 2, 1)), "share": jnp.ones(3)})


@pytest.mark.parametrize("option", ["alpha", "temperature"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InputError, match=f"^{option}=0.0 is not accepted"):
        methods.mixskd(None, None, exits=None, **{option: 0.0})  # pyright: ignore
