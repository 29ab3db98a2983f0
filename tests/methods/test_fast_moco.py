import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close
from first_step import KEY, NETS, first_step, log_softmax, unit

from kdjax import methods
from kdjax.core import Follower, InputError, Net


def linear(key, x):
    return jax.random.normal(key, (x.shape[-1], 6)), {}


STUBS = (  # those of the golden values
    Net(
        lambda key, x: (jax.random.normal(key, (x.shape[-1], 5)), {}),
        lambda params, stats, x, *, train, key=None: ({"pooled": jnp.mean(jnp.tanh(x @ params), (1, 2))}, stats),
    ),
    Net(linear, lambda params, stats, x, *, train, key=None: ({"embedding": x @ params}, stats)),
    Net(linear, lambda params, stats, x, *, train, key=None: ({"embedding": x @ params}, stats)),
)


def test_golden(golden):
    """The loss of a step, and the gradients that it descends along."""
    g = golden("fast_moco/comb_patch")
    options = {"split": int(g["hp_split_num"]), "combine": int(g["hp_combs"]), "temperature": float(g["hp_temperature"])}
    method = methods.fast_moco(*STUBS, optax.sgd(1.0), momentum=1.0, **options)
    batch = {"views": tuple(jnp.asarray(g[name], jnp.float32) for name in ("view1", "view2"))}
    state = method.init(KEY, batch, {})

    def weights(*names):
        found = (jnp.asarray(g[f"w_{name}_kernel"], jnp.float32) for name in names)
        return {
            name: kernel.reshape(kernel.shape[-2:])
            for name, kernel in zip(("encoder", "projector", "predictor"), found, strict=False)
        }

    online, target = weights("backbone", "projector", "predictor"), weights("target_backbone", "target_projector")
    state = state._replace(online=state.online.replace(params=online), target=Follower(target, state.target.stats))
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    np.testing.assert_allclose(metrics["loss"], g["loss"], rtol=1e-5)
    for part, name in (("encoder", "backbone"), ("projector", "projector"), ("predictor", "predictor")):
        gradient = g[f"grad_w_{name}_kernel"].reshape(online[part].shape)
        np.testing.assert_allclose(online[part] - new.online.params[part], gradient, rtol=0, atol=1e-4 * np.abs(gradient).max())


@pytest.mark.parametrize(("split", "combine"), [(2, 3), (4, 1)])
def test_every_set_of_patches_finds_the_whole_other_view(split, combine):
    """By hand: cut by corners, batch statistics of all patches, and of all sets, of a view."""
    step = first_step("fast_moco", split=split, combine=combine)
    corners = list(itertools.product(range(0, 8, 8 // split), repeat=2))

    @jax.jit
    def predictions(params, stats, view):
        cut = [view[:, top : top + 8 // split, left : left + 8 // split] for top, left in corners]
        taps, stats["encoder"] = NETS["encoder"].apply(params["encoder"], stats["encoder"], jnp.concatenate(cut), train=True)
        sets = [sum(parts) / combine for parts in itertools.combinations(jnp.split(taps["pooled"], split**2), combine)]
        x = jnp.concatenate(sets)
        for name in ("projector", "predictor"):
            taps, stats[name] = NETS[name].apply(params[name], stats[name], x, train=True)
            x = taps["embedding"]
        return jnp.split(x, len(sets)), stats

    both, stats = [], dict(step.state.online.stats)
    for view, key in zip(step.case.batch["views"], step.target[::-1], strict=True):
        sets, stats = predictions(step.state.online.params, stats, view)
        both.append(np.mean([-np.diag(log_softmax(unit(np.float64(q)) @ unit(key["embedding"]).T / 0.2)) for q in sets]))
    np.testing.assert_allclose(step.metrics["info_nce"], np.mean(both), rtol=1e-4)
    close(step.new.online.stats, stats, atol=1e-5)


def test_all_patches_of_one_are_moco_v3_up_to_its_factor():
    fast = first_step("fast_moco", split=1, combine=1).metrics["info_nce"]
    v3 = first_step("moco_v3", temperature=0.2).metrics["info_nce"]
    np.testing.assert_allclose(4 * 0.2 * fast, v3, rtol=1e-5)


def test_what_is_shipped_and_followed_sees_whole_images():
    step = first_step("fast_moco", split=4, combine=1)
    pooled = step.case.method.predict(step.new, step.case.batch["views"][0])["encoder"]["pooled"]
    assert pooled.shape == (16, 4)
    old, net = step.state.target.params, step.new.online.params
    expected = {name: jax.tree.map(lambda t, o: 0.9 * t + 0.1 * o, old[name], net[name]) for name in old}
    close(step.new.target.params, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": 0}, r"^split=0"),
        ({"combine": 5}, r"^combine=5 is not accepted: expected 1 to 4, the number of patches$"),
        ({"temperature": 0.0}, r"^temperature=0.0"),
        ({"momentum": -0.1}, r"^momentum=-0.1"),
        ({"split": 3}, r"^split=3 is not accepted: expected a divisor of the sides of a view, 8 and 8"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        case = CASES["fast_moco"](**options)
        jax.eval_shape(case.method.step, jax.eval_shape(case.method.init, KEY, case.batch, {}), case.batch, KEY)
