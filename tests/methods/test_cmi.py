"""Contrastive model inversion against the authors' code; what its rounds do is in test_rounds.py."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES
from synthetic import KEY, easel, golden, recorded, reference_net
from tiny_nets import frozen, without_batch_norm

from kdjax import methods
from kdjax.core import InputError, Net
from kdjax.models import mlp_head

page = importlib.import_module("kdjax.methods.data_free.cmi")


def test_the_objective_is_the_authors(monkeypatch):
    g = golden("datafree/cmi_objective")
    monkeypatch.setattr(page, "shifted", lambda padding: lambda key, image: image)
    monkeypatch.setattr(page, "zoomed", lambda area: lambda key, image: image[:, ::-1])
    (student, _), (teacher, weights) = (reference_net(g, who) for who in ("student", "teacher"))

    def head(params, stats, x, *, train, key=None):
        hidden = jax.nn.relu(x @ params["fc1"] + params["bias1"].reshape(1, -1))
        return {"embedding": hidden @ params["fc2"] + params["bias2"].reshape(1, -1)}, stats

    parts = {f"{a}{n}": jnp.asarray(g[f"w_head_fc{n}_{b}"]) for n in "12" for a, b in (("fc", "kernel"), ("bias", "bias"))}
    rows, bank = len(g["images"]), len(g["bank"])
    method = methods.cmi(
        student, teacher, easel(g["images"]), Net(lambda key, x: (parts, {}), head), optax.sgd(0.1), recorded(), classes=5,
        one_hot=float(g["hp_oh"]), batch_norm=float(g["hp_bn"]), adversarial=float(g["hp_adv"]), contrast=float(g["hp_cr"]),
        contrast_temperature=float(g["hp_cr_temperature"]), bank=bank, cached=bank, latent=2, synthesis_steps=2, student_steps=1,
        pool=rows,
    )  # fmt: skip
    batch = {"index": jnp.arange(rows)}
    state = method.init(KEY, batch, {"teacher": weights})
    filled = state.memory["bank"].replace(rows=jnp.asarray(g["bank"], jnp.float32), pushed=jnp.int32(bank))
    state = state._replace(memory={**state.memory, "bank": filled}, labels=jnp.asarray(g["targets"], jnp.int32), step=jnp.int32(1))
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    np.testing.assert_allclose(metrics["synthesis_loss"], g["loss"], rtol=1e-5)
    for name, part in (("one_hot", "onehot"), ("batch_norm", "bn"), ("adversarial", "adv"), ("contrast", "cr")):
        np.testing.assert_allclose(metrics[f"synthesis_{name}"], g[f"loss_{part}"], rtol=2e-4)
    expected = g["grad_images"]
    np.testing.assert_allclose(new.maker.opt["generator"], expected, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def run():
    """The States of two rounds of two steps each, with three of the student."""
    case = CASES["cmi"](synthesis_steps=2, student_steps=3)
    state, step = case.method.init(KEY, case.batch, case.given), jax.jit(case.method.step)
    states = [state]
    for k in range(10):
        state, _ = step(state, case.batch, jax.random.key(k))
        states.append(state)
    return states


def test_a_round_has_a_new_generator_and_keeps_head_and_bank(run):
    kernel = lambda state: np.asarray(state.maker.params["generator"]["linear"]["kernel"])  # noqa: E731
    head = lambda state: jax.tree.leaves(state.memory["head"])[0]  # noqa: E731
    assert np.abs(kernel(run[6]) - kernel(run[5])).max() > 0.1  # a step of the optimiser moves it by 0.05 at most
    assert int(run[1].memory["bank"].pushed) == 0 and int(run[2].memory["bank"].pushed) == int(run[5].memory["bank"].pushed) == 16
    assert int(run[7].memory["bank"].pushed) == 32
    assert np.array_equal(head(run[0]), head(run[1])) and not np.array_equal(head(run[1]), head(run[2]))
    np.testing.assert_allclose(run[2].memory["bank"].rows[:16], run[2].best.kept)


def test_rows_of_the_bank_that_were_never_pushed_are_looked_at_last(run, monkeypatch):
    """Behind the first round 16 of 32 rows were, and as many are looked at."""
    counted, contrast = [], page.losses.image_contrast

    def watched(*views, where, **options):
        jax.debug.callback(lambda where: counted.append(int(where.sum())), where)
        return contrast(*views, where=where, **options)

    monkeypatch.setattr(page.losses, "image_contrast", watched)
    case = CASES["cmi"](synthesis_steps=2, student_steps=3)
    jax.jit(case.method.step)(run[5], case.batch, KEY)
    jax.effects_barrier()
    assert set(counted) == {16 + 16}


def test_without_contrast_there_is_neither_bank_nor_head():
    case = CASES["cmi"](contrast=0.0)
    state = jax.eval_shape(case.method.init, KEY, case.batch, case.given)
    assert state.memory == () and list(state.maker.params) == ["generator", "latent"]


@pytest.mark.parametrize("warm_up", [0, 1])
def test_fast_without_its_meta_step_and_average_is_cmi_without_contrast(warm_up):
    """Of images alone: a generator without a network begins each round alike. In one phase, and in two."""
    net, batch = without_batch_norm(), {"index": jnp.arange(16)}
    pictures = np.random.default_rng(0).uniform(size=(16, 8, 8, 1)).astype(np.float32)
    shared = {"classes": 4, "one_hot": 1.0, "adversarial": 0.5, "batch_norm": 0.0, "latent": 2, "pool": 32, "padding": 1}
    shared |= {"synthesis_steps": 2, "student_steps": 2, "warm_up": warm_up}
    tx = optax.adam(0.01)
    maker = easel(pictures)
    one = methods.cmi(net, net, maker, mlp_head(4, 4), optax.sgd(0.1), tx, contrast=0.0, **shared)
    fast = {"meta": "none", "average": 0.0, "reset": 0}
    other = methods.fast_dfkd(net, net, maker, optax.sgd(0.1), tx, tx, tx, **shared, **fast)
    given = {"teacher": frozen(net)}
    states = [method.init(KEY, batch, given) for method in (one, other)]
    states[1] = states[1]._replace(labels=states[0].labels, student=states[0].student)
    steps = [jax.jit(method.step) for method in (one, other)]
    for k in range(7):
        found = [step(state, batch, jax.random.key(k)) for step, state in zip(steps, states, strict=True)]
        states, (a, b) = [state for state, _ in found], [metrics for _, metrics in found]
        shared_metrics = set(a) & set(b)
        assert "synthesis_loss" in shared_metrics
        for name in shared_metrics:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(states[0].pool.rows, states[1].pool.rows)


def test_in_two_phases_images_are_made_before_anyone_looks_at_the_student():
    """Up to the end of the first phase nothing depends on the adversarial term or moves the student; then both count."""
    cases = [CASES["cmi"](warm_up=2, synthesis_steps=2, student_steps=2, adversarial=x) for x in (0.0, 5.0)]
    states, steps = [c.method.init(KEY, c.batch, c.given) for c in cases], [jax.jit(c.method.step) for c in cases]
    start = jax.tree.leaves(states[0].student.learner)
    for k in range(6):
        states = [step(state, c.batch, jax.random.key(k))[0] for c, step, state in zip(cases, steps, states, strict=True)]
        without, with_term = (jax.tree.leaves((state.maker.params, state.pool.rows)) for state in states)
        alike = all(np.allclose(a, b, atol=1e-6) for a, b in zip(without, with_term, strict=True))
        assert alike == (k < 4), k
        pushed = 16 * ((k + 1) // 2)
        assert int(states[1].pool.pushed) == int(states[1].memory["bank"].pushed) == pushed
        assert all(np.array_equal(a, b) for a, b in zip(start, jax.tree.leaves(states[1].student.learner), strict=True))
    moved = steps[1](states[1], cases[1].batch, KEY)[0].student.learner
    assert not all(np.array_equal(a, b) for a, b in zip(start, jax.tree.leaves(moved), strict=True))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"cached": 64, "bank": 32}, r"cached=64 is not accepted: expected 1 to bank=32"),
        ({"classes": 0}, r"classes=0 is not accepted"),
        ({"area": (0.5,)}, r"area=\(0.5,\) is not accepted: expected two shares of an image"),
        ({"area": (0.25, 0.5, 1.0)}, r"area=\(0.25, 0.5, 1.0\) is not accepted: expected two shares of an image"),
        ({"area": (0.5, 2.0)}, r"area=\(0.5, 2.0\) is not accepted: expected two shares of an image, above 0 and at most 1"),
    ],
)
def test_options_out_of_range_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        CASES["cmi"](**options)
