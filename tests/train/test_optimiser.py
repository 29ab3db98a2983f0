from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.train.optimiser import LARS_VARIANTS, OPTIMISERS, adam, lars, schedule, sgd

RNG = np.random.default_rng(0)
SHAPES = {"w": (3, 2), "b": (2,), "positions": (1, 2, 2), "class_token": (1, 1, 2)}
START = {k: RNG.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
GRADS = [{k: RNG.standard_normal(v.shape).astype(np.float32) for k, v in START.items()} for _ in range(6)]


def applied(tx, grads=GRADS):
    """The parameters after the gradients."""
    params = jax.tree.map(jnp.asarray, START)
    state = tx.init(params)
    for g in grads:
        updates, state = tx.update(g, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
    return params


def rate(step):
    return 0.1 / (1 + step)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_sgd_is_that_of_pytorch(momentum, nesterov, weight_decay):
    want = {k: v.astype(np.float64) for k, v in START.items()}
    buffer = {}
    for step, grads in enumerate(GRADS):
        for k, g in grads.items():
            g = g + weight_decay * want[k]
            buffer[k] = momentum * buffer[k] + g if k in buffer else g
            want[k] = want[k] - rate(step) * (g + momentum * buffer[k] if nesterov else buffer[k])
    got = applied(sgd(rate, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov))
    for k in want:
        np.testing.assert_allclose(got[k], want[k], atol=1e-6)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adam_decays_kernels_only(weight_decay):
    want = {k: v.astype(np.float64) for k, v in START.items()}
    m, v = (dict.fromkeys(want, 0.0) for _ in range(2))
    for step, grads in enumerate(GRADS, 1):
        for k, g in grads.items():
            m[k], v[k] = 0.8 * m[k] + 0.2 * g, 0.99 * v[k] + 0.01 * g.astype(np.float64) ** 2
            update = m[k] / (1 - 0.8**step) / (np.sqrt(v[k] / (1 - 0.99**step)) + 1e-8)
            want[k] = want[k] - rate(step - 1) * (update + (weight_decay * want[k] if k == "w" else 0))
    got = applied(adam(rate, weight_decay=weight_decay, b1=0.8, b2=0.99))
    for k in want:
        np.testing.assert_allclose(got[k], want[k], atol=1e-5)


@pytest.mark.parametrize("make", [partial(sgd, momentum=0.9), adam])
def test_gradients_are_cut_together(make):
    """All of them by one factor, before there is decay; shorter ones stay."""
    lengths = [np.sqrt(sum(float(np.sum(np.float64(x) ** 2)) for x in grads.values())) for grads in GRADS]
    cut = np.minimum(1.0, np.median(lengths) / lengths)
    assert min(cut) < 0.9 and max(cut) == 1
    shorter = [{k: np.float32(factor) * x for k, x in grads.items()} for grads, factor in zip(GRADS, cut, strict=True)]
    got, want = (
        applied(make(rate, weight_decay=0.05, clip=float(np.median(lengths)))),
        applied(make(rate, weight_decay=0.05), shorter),
    )
    for k in want:
        np.testing.assert_allclose(got[k], want[k], atol=1e-6)


@pytest.mark.parametrize("variant", [v for v in LARS_VARIANTS if v != "larc"])
def test_lars_by_hand_at_a_falling_rate(variant):
    want = {k: v.astype(np.float64) for k, v in START.items()}
    buffer = dict.fromkeys(want, 0.0)
    for step, grads in enumerate(GRADS):
        for k, g in grads.items():
            w, ratio, now = want[k], 1.0, rate(step)
            if w.ndim > 1:
                size, pull = np.linalg.norm(w), np.linalg.norm(g)
                g = g + 0.05 * w
                ratio = 0.02 * size / (np.linalg.norm(g) if variant == "byol" else pull + 0.05 * size)
            kept = {"byol": ratio, "fast_moco": 1.0, "revisit_airl": now * ratio}[variant]  # what is inside the momentum
            buffer[k] = 0.9 * buffer[k] + kept * g
            want[k] = w - now * ratio / kept * buffer[k]
    got = applied(lars(rate, momentum=0.9, weight_decay=0.05, eta=0.02, variant=variant))
    for k in want:
        np.testing.assert_allclose(got[k], want[k], atol=1e-6)


@pytest.mark.parametrize(("clip_ratio", "vectors", "eta"), [(False, True, 0.02), (True, False, 0.02), (True, False, 0.2)])
def test_larc_by_hand_at_a_falling_rate(clip_ratio, vectors, eta):
    """As apex has it, and solo-learn after it: the ratio is inside the momentum, the rate is not; clipped it is that of SGD."""
    want, buffer, clipped = {k: v.astype(np.float64) for k, v in START.items()}, dict.fromkeys(START, 0.0), []
    for step, grads in enumerate(GRADS):
        for k, g in grads.items():
            w, now = want[k], rate(step)
            if w.ndim > 1 or vectors:
                ratio = eta * np.linalg.norm(w) / (np.linalg.norm(g) + 0.05 * np.linalg.norm(w))
                if clip_ratio:
                    clipped.append(ratio / now >= 1)
                    ratio = min(ratio / now, 1)
                g = ratio * (g + 0.05 * w)
            buffer[k] = 0.9 * buffer[k] + g
            want[k] = w - now * buffer[k]
    assert not clip_ratio or (any(clipped) and (eta > 0.02 or not all(clipped)))
    options = {"momentum": 0.9, "weight_decay": 0.05, "eta": eta, "variant": "larc"}
    got = applied(lars(rate, clip_ratio=clip_ratio, vectors=vectors, **options))
    for k in want:
        np.testing.assert_allclose(got[k], want[k], atol=1e-6)


def test_larc_at_a_rate_of_zero_and_where_a_kernel_or_its_gradient_is_zero():
    one, none = jnp.ones((2, 2)), jnp.zeros((2, 2))
    for now in (0.0, 1.0):
        tx = lars(now, momentum=0.0, weight_decay=0.5, variant="larc", clip_ratio=True)
        for w, g in ((none, one), (one, none), (none, none)):
            updates, _ = tx.update({"w": g}, tx.init({"w": w}), {"w": w})
            np.testing.assert_array_equal(updates["w"], -now * g)  # without decay
    updates, _ = lars(0.0, momentum=0.0, weight_decay=0.5, variant="larc", clip_ratio=True).update(
        {"w": one}, tx.init({"w": one}), {"w": one}
    )
    np.testing.assert_array_equal(updates["w"], none)


@pytest.mark.parametrize("variant", LARS_VARIANTS)
def test_biases_and_norms_may_have_a_rate_of_their_own(variant):
    options = {"momentum": 0.9, "weight_decay": 0.05, "eta": 0.02, "variant": variant}
    plain, own, slow = (
        applied(lars(lambda step, f=f: f * rate(step), **options, vector_rate=v)) for f, v in ((1.0, 1.0), (1.0, 0.25), (0.25, 1.0))
    )
    for k in START:
        np.testing.assert_allclose(own[k], (slow if START[k].ndim == 1 else plain)[k], atol=1e-6)
    assert np.abs(own["b"] - plain["b"]).max() > 1e-3


@pytest.mark.parametrize("option", ["clip_ratio", "vectors"])
def test_options_of_larc_are_of_no_other_lars(option):
    with pytest.raises(InputError, match=f"{option}=True is not accepted: expected False, or the variant 'larc'"):
        lars(0.1, momentum=0.9, weight_decay=0.0, **{option: True})


LARS_FILES = {
    "byol_deepmind/lars": "byol",
    "official_ssl/lars_barlow_twins": "byol",
    "fast_moco/lars": "fast_moco",
    "revisit_airl/lars": "revisit_airl",
}


def lars_of(g, variant):
    numbers = {name: float(g[f"hp_{name}"]) for name in ("momentum", "weight_decay", "eta")}
    return lars(float(g["hp_learning_rate"]), variant=variant, **numbers)


@pytest.mark.parametrize("name", LARS_FILES)
def test_lars_golden(golden, name):
    """Three steps; kernels move by a thousandth of themselves, so it is the moves that are compared."""
    g = golden(name)
    tx, names = lars_of(g, LARS_FILES[name]), [k.removeprefix("g_") for k in g if k.startswith("g_")]
    assert {g[k].ndim for k in names} == {1, 2}
    params = {k: g[k] for k in names}
    state = tx.init(params)
    for step in range(3):
        after = {k: g[f"{k}_after_step{step}"] for k in names}
        updates, state = jax.jit(tx.update)({k: g[f"g_{k}"][step] for k in names}, state, jax.tree.map(np.float32, params))
        for k in names:
            moved = after[k] - np.float64(params[k])
            np.testing.assert_allclose(updates[k], moved, rtol=0, atol=2e-6 * np.abs(moved).max())
        params = after


@pytest.mark.parametrize("variant", LARS_VARIANTS)
def test_lars_where_a_kernel_or_its_gradient_is_zero(variant):
    tx = lars(1.0, momentum=0.0, weight_decay=0.0, variant=variant)
    for w, g in ((jnp.zeros((2, 2)), jnp.ones((2, 2))), (jnp.ones((2, 2)), jnp.zeros((2, 2)))):
        updates, _ = tx.update({"w": g}, tx.init({"w": w}), {"w": w})
        np.testing.assert_array_equal(updates["w"], -g)


@pytest.mark.parametrize("variant", LARS_VARIANTS)
def test_lars_with_traced_options(variant):
    def first(weight_decay, eta):
        return applied(lars(rate, momentum=0.9, weight_decay=weight_decay, eta=eta, variant=variant))["w"]

    many = jax.vmap(first)(jnp.array([0.0, 0.05]), jnp.array([0.001, 0.02]))
    np.testing.assert_allclose(many[1], first(0.05, 0.02), atol=1e-6)
    assert np.abs(many[0] - START["w"]).max() > 1e-4


def test_lars_of_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match="variant='lamb' is not accepted: expected 'byol' or 'fast_moco' or 'revisit_airl'"):
        lars(0.1, momentum=0.9, weight_decay=0.0, variant="lamb")


def rates(timed, steps):
    return [round(float(timed(step)), 6) for step in steps]


def test_constant():
    assert rates(schedule("constant", 0.5, steps=10), (0, 9)) == [0.5, 0.5]
    assert rates(schedule("constant", 0.5, steps=10, warmup=4), (0, 1, 3, 4, 9)) == [0.0, 0.125, 0.375, 0.5, 0.5]


def test_cosine_begins_at_the_peak_and_ends_at_zero():
    assert rates(schedule("cosine", 0.4, steps=10), (0, 5, 10)) == [0.4, 0.2, 0.0]
    timed = schedule("cosine", 0.4, steps=12, warmup=2)
    assert rates(timed, (0, 1, 2, 7, 12)) == [0.0, 0.2, 0.4, 0.2, 0.0]
    assert 0 < float(timed(11)) < 0.02


def test_cosine_may_end_at_a_share_of_the_peak():
    timed = schedule("cosine", 0.4, steps=12, warmup=2, last_share=0.25)
    assert rates(timed, (0, 1, 2, 7, 12, 99)) == [0.0, 0.2, 0.4, 0.25, 0.1, 0.1]


def test_cosine_golden(golden):
    """From 0 over the warm-up to the peak at its last step, to 0 at the end, where it stays."""
    g = golden("byol_deepmind/schedules")
    peak = float(g["hp_base_learning_rate"]) * int(g["hp_batch_size"]) / 256
    timed = schedule("cosine", peak, steps=int(g["hp_total_steps"]), warmup=int(g["hp_warmup_steps"]))
    np.testing.assert_allclose([timed(step) for step in g["steps"]], g["learning_rate"], atol=1e-6 * peak)
    assert g["steps"].max() > g["hp_total_steps"]


@pytest.mark.parametrize("warmup", [0, 3])
def test_drops_come_at_their_fraction_of_the_whole_run(warmup):
    timed = schedule("steps", 1.0, steps=20, warmup=warmup, drops=(0.5, 0.75), factor=0.2)
    assert rates(timed, (warmup, 9, 10, 14, 15, 19)) == [1.0, 1.0, 0.2, 0.2, 0.04, 0.04]


def test_drops_that_fall_on_one_step_all_count():
    assert rates(schedule("steps", 1.0, steps=4, drops=(0.5, 0.55), factor=0.1), (1, 2)) == [1.0, 0.01]


def test_numbers_may_be_traced():
    def first(rate, momentum):
        return applied(sgd(schedule("cosine", rate, steps=10, warmup=2), momentum=momentum, weight_decay=0.0))["w"]

    many = jax.vmap(first)(jnp.array([0.1, 0.2]), jnp.array([0.0, 0.9]))
    np.testing.assert_allclose(many[1], first(0.2, 0.9), atol=1e-6)
    np.testing.assert_allclose(many[0], first(0.1, 0.0), atol=1e-6)


@pytest.mark.parametrize("drops", [(0.0,), (1.0,), (0.5, 60), (0.75, 0.5), (0.5, 0.5)])
def test_drops_that_are_no_fractions_are_refused(drops):
    with pytest.raises(InputError, match=r"drops=.* is not accepted"):
        schedule("steps", 0.1, steps=100, drops=drops)


@pytest.mark.parametrize("warmup", [-1, 100])
def test_a_rise_as_long_as_the_run_is_refused(warmup):
    with pytest.raises(InputError, match=f"warmup={warmup} is not accepted"):
        schedule("cosine", 0.1, steps=100, warmup=warmup)


def test_names_that_are_not_known_are_refused():
    with pytest.raises(InputError, match="schedule 'cosin' is not known; accepted: cosine"):
        schedule("cosin", 0.1, steps=10)
    assert set(OPTIMISERS) == {"sgd", "adam", "lars"}
