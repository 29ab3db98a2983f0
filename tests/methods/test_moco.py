import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, equal, start
from first_step import first_step, log_softmax, unit

from kdjax.core import InputError


def contrast(query, key, queue):
    """The cross-entropy of finding the key among the queue."""
    q, k = unit(query), unit(key)
    logits = np.concatenate([np.sum(q * k, -1, keepdims=True), q @ np.float64(queue).T], 1) / 0.2
    return -np.mean(log_softmax(logits)[:, 0])


def test_one_direction_by_default():
    step = first_step("moco", symmetric=False)
    (queue,), (pushed,) = step.state.memory, step.new.memory
    query, key = step.online[0]["embedding"], step.target[1]["embedding"]
    np.testing.assert_allclose(step.metrics["moco"], contrast(query, key, queue.rows), rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(queue.rows, axis=1), 1, rtol=1e-5)
    # The keys of the batch enter behind the loss, in front of what the queue began with.
    np.testing.assert_allclose(pushed.rows[:16], unit(key), atol=1e-5)
    assert np.array_equal(pushed.rows[16:], queue.rows[16:]) and pushed.pushed == 16


def test_both_directions_have_queues_of_their_own():
    step = first_step("moco")
    q, k = ([taps["embedding"] for taps in side] for side in (step.online, step.target))
    both = [contrast(q[a], k[1 - a], step.state.memory[a].rows) for a in range(2)]
    np.testing.assert_allclose(step.metrics["moco"], np.mean(both), rtol=1e-4)
    assert not equal(step.state.memory[0], step.state.memory[1])
    for kept, key in zip(step.new.memory, (k[1], k[0]), strict=True):
        np.testing.assert_allclose(kept.rows[:16], unit(key), atol=1e-5)


def test_the_slow_network_starts_as_a_copy_and_follows():
    step = first_step("moco")
    online, target = step.state.online.params, step.state.target.params
    assert equal({name: online[name] for name in target}, target)
    expected = jax.tree.map(lambda t, o: 0.9 * t + 0.1 * o, target, {n: step.new.online.params[n] for n in target})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), step.new.target.params, expected)


@pytest.mark.parametrize(("done", "tau"), [(0, 0.9), (20, 0.95), (40, 1.0), (10, 0.9 + 0.1 * (1 - np.cos(np.pi / 4)) / 2)])
def test_the_momentum_may_go_to_another_one_by_a_cosine(done, tau):
    case = CASES["moco"](momentum=0.9, last_momentum=1.0, steps=40)
    state = start(case)
    _, metrics = jax.jit(case.method.step)(state._replace(step=jnp.int32(done)), case.batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["tau"], tau, rtol=1e-6)


def test_v2_plus_adds_both_directions_over_one_queue_that_takes_the_keys_of_one_view():
    step = first_step("moco_v2_plus")
    q, k = ([taps["embedding"] for taps in side] for side in (step.online, step.target))
    queue, pushed = step.state.memory, step.new.memory
    both = [contrast(q[a], k[1 - a], queue.rows) for a in range(2)]
    np.testing.assert_allclose(step.metrics["moco"], sum(both), rtol=1e-4)
    assert "predictor" in step.state.online.params and "predictor" not in step.state.target.params
    assert pushed.pushed == 16 and np.array_equal(pushed.rows[16:], queue.rows[16:])
    assert sum(np.allclose(pushed.rows[:16], unit(keys), atol=1e-5) for keys in k) == 1
    np.testing.assert_allclose(step.metrics["tau"], 0.9, rtol=1e-6)


def test_v2_plus_takes_the_keys_of_either_view_in_turn():
    case = CASES["moco_v2_plus"](momentum=1.0)
    state, update = start(case), jax.jit(case.method.step)
    taken = [np.asarray(update(state, case.batch, jax.random.key(n))[0].memory.rows[:16]) for n in range(30)]
    first = [np.allclose(rows, taken[0], atol=1e-6) for rows in taken]
    assert 5 < sum(first) < 25 and len({rows.tobytes() for rows in taken}) == 2


def test_s_moco_v2_plus_has_both_sides_alike():
    step = first_step("moco_v2_plus", predictor_follows=True)
    assert step.state.target.params.keys() == step.state.online.params.keys() - {"probe"}
    q, k = ([taps["embedding"] for taps in side] for side in (step.online, step.target))
    both = [contrast(q[a], k[1 - a], step.state.memory.rows) for a in range(2)]
    np.testing.assert_allclose(step.metrics["moco"], sum(both), rtol=1e-4)


def test_v3_contrasts_within_the_batch():
    step = first_step("moco_v3")
    q, k = ([unit(taps["embedding"]) for taps in side] for side in (step.online, step.target))
    both = [-np.mean(np.diag(log_softmax(q[a] @ k[1 - a].T))) for a in range(2)]
    np.testing.assert_allclose(step.metrics["info_nce"], 2 * sum(both), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("moco", {"queue": 40}, r"^queue=40 is not accepted: expected a multiple of the batch, 16"),
        ("moco", {"temperature": 0.0}, r"^temperature=0.0"),
        ("moco", {"momentum": 1.1}, r"^momentum=1.1"),
        ("moco_v2_plus", {"queue": 40}, r"^queue=40 is not accepted: expected a multiple of the batch, 16"),
        ("moco_v2_plus", {"temperature": 0.0}, r"^temperature=0.0"),
        ("moco_v2_plus", {"momentum": 1.1}, r"^momentum=1.1"),
        ("moco_v2_plus", {"steps": 0}, r"^steps=0"),
        ("moco_v3", {"temperature": 0.0}, r"^temperature=0.0"),
        ("moco_v3", {"steps": 0}, r"^steps=0"),
    ],
)
def test_options_out_of_range_are_refused(name, options, words):
    with pytest.raises(InputError, match=words):
        start(CASES[name](**options))


def test_a_momentum_of_zero_is_contrast_with_the_network_itself():
    """What it has just learned makes the next keys."""
    step = first_step("moco", momentum=0.0)
    assert all(
        jnp.allclose(a, b, atol=1e-6)
        for name in step.new.target.params
        for a, b in zip(jax.tree.leaves(step.new.target.params[name]), jax.tree.leaves(step.new.online.params[name]), strict=True)
    )
