"""Clusters on top of an encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, equal, start

from kdjax import losses
from kdjax.core import InputError

KEY = jax.random.key(5)


def stepped(case, state):
    return jax.jit(case.method.step)(state, case.batch, KEY)


def logits(case, state, images):
    """Of both heads, `[2, B, 4]`, by plain passes with the statistics of the batch."""
    params, stats = state.learner.params, state.learner.stats
    taps, _ = case.nets["encoder"].apply(params["encoder"], stats["encoder"], images, train=True)
    layer = {name: np.asarray(x) for name, x in params["heads"]["classifier"].items()}
    return (np.asarray(taps["pooled"]) @ layer["kernel"] + layer["bias"]).reshape(-1, 2, 4).swapaxes(0, 1)


def test_the_loss_is_that_of_all_heads_and_the_mean_moves_behind_it():
    """Each image has one neighbour, seen as it is."""
    case = CASES["uslt"](neighbours=1, weak=lambda key, image: image, local=3.0, mean_momentum=0.25, adjustment=2.0)
    state = start(case)
    means = jnp.asarray([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    state = state._replace(learner=state.learner.replace(stats={**state.learner.stats, "means": means}))
    new, metrics = stepped(case, state)
    strong, weak = case.batch["views"]
    near = case.given["images"].params["image"][(np.arange(16) + 4) % 16]
    anchor, calm, theirs = (logits(case, state, x) for x in (strong, weak, near))
    local = sum(losses.uslt_local(anchor[h], theirs[h], means[h], adjustment=2.0).mean() for h in range(2))
    whole = sum(losses.uslt_global(calm[h], anchor[h], threshold=0.3) for h in range(2))
    np.testing.assert_allclose(metrics["local"], local, rtol=1e-4)
    np.testing.assert_allclose(metrics["global"], whole, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], whole + 3 * local, rtol=1e-4)
    wanted = [losses.uslt_mean(means[h], theirs[h], momentum=0.25) for h in range(2)]
    np.testing.assert_allclose(new.learner.stats["means"], np.stack(wanted), rtol=1e-4)


def test_the_gradient_is_that_of_the_strong_view_alone():
    case = CASES["uslt"](neighbours=1, weak=lambda key, image: image, tx=optax.sgd(1.0))
    state = start(case)
    new, _ = stepped(case, state)
    strong, weak = case.batch["views"]
    near = case.given["images"].params["image"][(np.arange(16) + 4) % 16]
    calm, theirs = (jnp.asarray(logits(case, state, x)) for x in (weak, near))
    means, stats = state.learner.stats["means"], state.learner.stats["encoder"]

    def loss(heads):
        taps, _ = case.nets["encoder"].apply(state.learner.params["encoder"], stats, strong, train=True)
        layer = heads["classifier"]
        z = jnp.moveaxis((taps["pooled"] @ layer["kernel"] + layer["bias"][None]).reshape(16, 2, 4), 1, 0)
        local = [losses.uslt_local(z[h], theirs[h], means[h], adjustment=1.0).mean() for h in (0, 1)]
        each = [losses.uslt_global(calm[h], z[h], threshold=0.3) + 5 * local[h] for h in (0, 1)]
        return sum(each)

    heads = state.learner.params["heads"]
    moved = jax.tree.map(lambda p, g: p - g, heads, jax.grad(loss)(heads))
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(new.learner.params["heads"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_neighbours_are_found_by_the_number_of_an_image_and_drawn_anew():
    """Images that come in another order, and numbers with gaps."""
    case = CASES["uslt"](weak=lambda key, image: image)
    state = start(case)
    order = np.random.default_rng(0).permutation(16)
    turned = case._replace(batch=jax.tree.map(lambda x: x[order], case.batch))
    first, second = (stepped(c, state)[1] for c in (case, turned))
    np.testing.assert_allclose(first["local"], second["local"], rtol=1e-4)
    again = jax.jit(case.method.step)(state, case.batch, jax.random.key(6))[1]
    assert again["local"] != first["local"]
    alone = state._replace(neighbours=jnp.broadcast_to(jnp.arange(16, dtype=jnp.int32)[:, None], (16, 3)))
    assert stepped(case, alone)[1]["local"] != first["local"]


def test_the_start_stays_and_the_clusters_are_told_by_every_head():
    case = CASES["uslt"]()
    state = start(case)
    new, _ = stepped(case, state)
    assert equal(new.start, state.start) and equal(state.start.params, state.learner.params["encoder"])
    found = case.method.predict(new, case.batch["views"][0])
    assert list(found) == ["encoder", "start"] and found["encoder"]["clusters"].shape == (16, 2, 4)
    assert "logits" not in found["encoder"] and "clusters" not in found["start"]


@pytest.mark.parametrize("options", [{"clusters": 0}, {"heads": 0}, {"neighbours": 0}, {"numbers": [3]}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=f"^{next(iter(options))}="):
        CASES["uslt"](**options)
