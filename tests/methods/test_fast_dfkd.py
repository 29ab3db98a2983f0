"""FastDFKD against the authors' code: two rounds, each of three steps of a copy and one of the generator."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, equal, start
from synthetic import KEY, easel, golden
from tiny_nets import frozen, images, without_batch_norm

from kdjax import losses, methods
from kdjax.core import Frozen, InputError, Net, batch_norms

rounds_page = importlib.import_module("kdjax.methods.data_free._rounds")


@pytest.mark.parametrize("meta", ["fomaml", "reptile"])
def test_two_rounds_are_the_authors(meta, monkeypatch):
    g = {k: jnp.asarray(v, jnp.float32) if v.dtype.kind == "f" else v for k, v in golden(f"fast_datafree/{meta}").items()}

    def paint(params, stats, z, *, train, key=None):
        x = jnp.tanh(z @ params["kernel"] + params["bias"].reshape(1, -1))
        return {"image": x.reshape(-1, 1, 1, x.shape[1])}, stats

    def linear(who):
        apply = lambda params, stats, x, *, train, key=None: ({"logits": x.reshape(x.shape[0], -1) @ params}, stats)  # noqa: E731
        return Net(lambda key, x: (g[f"w_{who}_kernel"], {}), apply)

    maker = Net(lambda key, z: ({"kernel": g["w_generator_kernel"], "bias": g["w_generator_bias"]}, {}), paint)
    adam = lambda name: optax.adam(float(g[name]), b1=float(g["hp_beta1"]), b2=float(g["hp_beta2"]))  # noqa: E731
    steps, rows = int(g["hp_iterations"]), g["z"].shape[1]
    method = methods.fast_dfkd(
        linear("student"), linear("teacher"), maker, optax.sgd(0.0), adam("hp_lr_g"), adam("hp_lr_z"), adam("hp_meta_lr"),
        classes=4, one_hot=float(g["hp_oh"]), batch_norm=0.0, adversarial=float(g["hp_adv"]), meta=meta, reset=0,
        warm_up=0, latent=4, synthesis_steps=steps, student_steps=1, pool=2 * rows, padding=0,
    )  # fmt: skip
    batch, given = {"index": jnp.arange(rows)}, {"teacher": Frozen(g["w_teacher_kernel"], {}, "of a test")}
    state, losses = method.init(KEY, batch, given), []
    for number in range(int(g["hp_rounds"])):
        before = state.memory["meta"].params
        latents, targets = g["z"][number], jnp.asarray(np.sort(g["targets"][number]), jnp.int32)
        monkeypatch.setattr(jax.random, "normal", lambda key, shape, latents=latents: jnp.reshape(latents, shape))
        monkeypatch.setattr(rounds_page, "balanced_labels", lambda key, index, classes, targets=targets: targets)
        step = jax.jit(lambda *args: method.step(*args))  # traced anew, with the latents of this round
        for k in range(steps):
            state, metrics = step(state, batch, jax.random.key(k))
            losses.append(float(metrics["synthesis_loss"]))
        made = state
        state, _ = step(state, batch, KEY)  # the student's, which has a rate of 0
        params = state.memory["meta"].params
        for name in ("kernel", "bias"):
            np.testing.assert_allclose(params[name], g[f"generator_{name}_after_round{number}"], atol=2e-5)
            assert float(jnp.abs(params[name] - before[name]).max()) > 1e-3
        np.testing.assert_allclose(made.maker.params["latent"], g[f"z_after_round{number}"], atol=2e-5)
        np.testing.assert_allclose(state.best.image.reshape(rows, -1), g[f"best_images_round{number}"], atol=2e-5)
    np.testing.assert_allclose(losses, np.ravel(g["loss_per_iteration"]), rtol=1e-4)


@pytest.fixture(scope="module")
def run():
    """The States of two rounds of two steps, without a student's."""
    case = CASES["fast_dfkd"](synthesis_steps=2, warm_up=9, reset=2)
    state, step = start(case), jax.jit(case.method.step)
    states = [state]
    for k in range(4):
        state, _ = step(state, case.batch, jax.random.key(k))
        states.append(state)
    return case, states


def test_the_copy_moves_in_a_round_and_the_generator_behind_it(run):
    _, states = run
    generators = [state.memory["meta"].params for state in states]
    assert equal(generators[0], generators[1]) and not equal(generators[1], generators[2])
    assert not equal(states[0].maker.params["generator"], states[1].maker.params["generator"])
    assert [int(state.memory["rounds"]) for state in states] == [0, 0, 1, 1, 2]
    assert not any(x.any() for x in jax.tree.leaves(states[2].memory["gradient"]))


def test_the_first_layers_begin_anew_behind_the_round_that_says_so(run):
    _, states = run
    far = lambda a, b, layer: np.abs(a[layer]["kernel"] - b[layer]["kernel"]).max()  # noqa: E731
    before, after = (states[k].memory["meta"].params for k in (3, 4))
    assert far(before, after, "linear") > 0.1 > far(before, after, "conv1")


def test_the_average_of_statistics_begins_with_those_of_the_first_round(run):
    case, states = run
    teacher = case.nets["teacher"]
    frozen = case.given["teacher"]
    kept = states[2].memory["statistics"]
    layers = batch_norms(teacher.apply(frozen.params, frozen.stats, jnp.zeros((2, 8, 8, 1)), train=False)[0], frozen.stats)
    assert len(kept) == len(layers) and not equal(kept, states[4].memory["statistics"])
    assert equal(kept, states[3].memory["statistics"])  # it moves once a round


def test_the_first_round_has_no_average_to_mix_in(run, monkeypatch):
    case, states = run
    momenta, averaged = [], losses.averaged_batch_norm_statistics

    def watched(*layer, momentum, **options):
        jax.debug.callback(lambda momentum: momenta.append(float(momentum)), momentum)
        return averaged(*layer, momentum=momentum, **options)

    monkeypatch.setattr(losses, "averaged_batch_norm_statistics", watched)
    step = jax.jit(lambda *args: case.method.step(*args))
    for state, expected in ((states[1], 0.0), (states[2], 0.9)):
        momenta.clear()
        step(state, case.batch, KEY)
        jax.effects_barrier()
        np.testing.assert_allclose(momenta, expected, rtol=1e-6)
        assert momenta


def test_a_generator_without_the_layers_that_begin_anew_is_refused():
    net, tx = without_batch_norm(), optax.sgd(0.1)
    make = lambda reset: methods.fast_dfkd(  # noqa: E731
        net, net, easel(images()), tx, tx, tx, tx, classes=4, batch_norm=0.0, latent=3, pool=16, reset=reset
    )
    batch, given = {"index": jnp.arange(16)}, {"teacher": frozen(net)}
    with pytest.raises(InputError, match=r"reset=2 is not accepted: this generator has no layers linear and bn0; 0 leaves it as"):
        jax.eval_shape(make(2).init, KEY, batch, given)
    jax.eval_shape(make(0).init, KEY, batch, given)
    with pytest.raises(InputError, match=r"reset=-1 is not accepted: expected a whole number of rounds, 0 or more"):
        make(-1)


def test_an_unknown_way_to_follow_is_refused():
    with pytest.raises(InputError, match=r"meta='maml' is not accepted: expected 'fomaml', 'reptile' or 'none'"):
        CASES["fast_dfkd"](meta="maml")
