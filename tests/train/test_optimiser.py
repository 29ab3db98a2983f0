import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.train.optimiser import OPTIMISERS, adam, lars, schedule, sgd

RNG = np.random.default_rng(0)
SHAPES = {"w": (3, 2), "b": (2,), "positions": (1, 2, 2), "class_token": (1, 1, 2)}
START = {k: RNG.standard_normal(shape).astype(np.float32) for k, shape in SHAPES.items()}
GRADS = [{k: RNG.standard_normal(v.shape).astype(np.float32) for k, v in START.items()} for _ in range(6)]


def applied(tx):
    """The parameters after the gradients."""
    params = jax.tree.map(jnp.asarray, START)
    state = tx.init(params)
    for g in GRADS:
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


def test_lars_in_the_order_of_byol():
    want = {k: v.astype(np.float64) for k, v in START.items()}
    buffer = dict.fromkeys(want, 0.0)
    for step, grads in enumerate(GRADS):
        for k, g in grads.items():
            if want[k].ndim > 1:
                g = g + 0.05 * want[k]
                g = g * 0.02 * np.linalg.norm(want[k]) / np.linalg.norm(g)
            buffer[k] = 0.9 * buffer[k] + g
            want[k] = want[k] - rate(step) * buffer[k]
    got = applied(lars(rate, momentum=0.9, weight_decay=0.05, eta=0.02))
    for k in want:
        np.testing.assert_allclose(got[k], want[k], atol=1e-5)


def test_lars_leaves_a_zero_kernel_alone():
    params = {"w": jnp.zeros((2, 2))}
    tx = lars(1.0, momentum=0.0, weight_decay=0.1)
    updates, _ = tx.update({"w": jnp.ones((2, 2))}, tx.init(params), params)
    np.testing.assert_array_equal(updates["w"], -np.ones((2, 2)))


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
