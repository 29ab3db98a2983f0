import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, start
from first_step import KEY, first_step, log_softmax, unit
from tiny_nets import images

from kdjax.core import InputError


def sinkhorn(scores, epsilon=0.05, iterations=3):
    q = np.exp((scores - scores.max()) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(1, keepdims=True) * len(q)
        q /= q.sum(0, keepdims=True) * q.shape[1]
    return (q * q.shape[1]).T


@pytest.mark.parametrize("queue", [0, 32])
def test_the_assignment_of_one_view_is_predicted_from_the_other(queue):
    """The queue of 32 is full behind two steps: the first one is without."""
    step = first_step("swav", together=True, queue=queue)
    kernel = np.float64(step.state.online.params["prototypes"]["kernel"])
    scores = [unit(taps["embedding"]) @ kernel for taps in step.online]
    both = [-np.mean(np.sum(sinkhorn(scores[a]) * log_softmax(scores[1 - a] / 0.1), -1)) for a in range(2)]
    np.testing.assert_allclose(step.metrics["swav"], np.mean(both), rtol=1e-4)
    assert len(step.state.memory) == (2 if queue else 0)


def test_prototypes_keep_their_length_and_are_frozen_at_first():
    free, frozen = first_step("swav", together=True), first_step("swav", together=True, frozen_epochs=1)
    before, after = (x.online.params["prototypes"]["kernel"] for x in (free.state, free.new))
    np.testing.assert_allclose(np.linalg.norm(after, axis=0), 1, rtol=1e-5)
    assert not np.array_equal(before, after)
    assert np.array_equal(*(x.online.params["prototypes"]["kernel"] for x in (frozen.state, frozen.new)))


def test_a_full_queue_is_assigned_beside_the_batch():
    case = CASES["swav"](queue=16)
    step, state = jax.jit(case.method.step), start(case)
    state, _ = step(state, case.batch, KEY)
    alone = CASES["swav"](queue=0)
    without = jax.jit(alone.method.step)(state._replace(memory=()), case.batch, KEY)[1]
    # A queue that holds the batch itself changes no assignment; another one does.
    kernel, same = state.online.params["prototypes"]["kernel"], state.memory
    assert kernel.shape == (5, 4)
    _, metrics = step(state, case.batch, KEY)
    other = tuple(q.replace(rows=jnp.asarray(unit(np.ones_like(q.rows)))) for q in same)
    _, changed = step(state._replace(memory=other), case.batch, KEY)
    assert abs(float(changed["swav"]) - float(without["swav"])) > 10 * abs(float(metrics["swav"]) - float(without["swav"]))


def test_small_views_are_predicted_and_not_assigned():
    case = CASES["swav"](queue=0)
    batch = case.batch | {"views": (*case.batch["views"], images(2)[:, :4, :4])}
    state, metrics = jax.jit(case.method.step)(start(case), batch, KEY)
    assert np.isfinite(metrics["swav"]) and state.step == 1


@pytest.mark.parametrize("options", [{"queue": 17}, {"temperature": 0.0}, {"epsilon": 0.0}, {"prototypes": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        start(CASES["swav"](**options))
