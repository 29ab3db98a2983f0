import jax
import numpy as np
import pytest
from cases import CASES, equal, start
from first_step import KEY, first_step, log_softmax, unit
from tiny_nets import images

from kdjax.core import InputError


def scores(taps, params):
    kernel = np.float64(params["prototypes"]["kernel"])
    return [unit(view["embedding"]) @ (kernel / np.linalg.norm(kernel, axis=0)) for view in taps]


def test_a_view_gives_what_the_slow_network_gives_for_the_other():
    step = first_step("dino", together=True)
    student, teacher = scores(step.online, step.state.online.params), scores(step.target, step.state.target.params)
    pairs = [np.exp(log_softmax(teacher[a] / 0.04)) * log_softmax(student[1 - a] / 0.1) for a in range(2)]
    np.testing.assert_allclose(step.metrics["dino"], -np.mean([np.sum(p, -1) for p in pairs]), rtol=1e-4)
    assert not step.state.memory.any()
    np.testing.assert_allclose(step.new.memory, 0.1 * np.mean(np.concatenate(teacher), 0), atol=1e-5)


def test_what_is_shipped_is_the_slow_encoder():
    step = first_step("dino", together=True)
    shipped, _ = step.case.method.weights(step.new)["encoder"]
    assert equal(shipped, step.new.target.params["encoder"]) and not equal(shipped, step.new.online.params["encoder"])


def test_the_temperature_of_the_teacher_rises_epoch_by_epoch():
    """Both ends are among the epochs of the warm-up: 0.04, then 0.07."""
    case = CASES["dino"](warmup_epochs=2)
    step, state = jax.jit(case.method.step), start(case)
    found = [float(step(state._replace(step=state.step + k), case.batch, KEY)[1]["dino"]) for k in (0, 3, 4, 9)]
    flat = CASES["dino"](warmup_epochs=0)
    last = float(jax.jit(flat.method.step)(state, case.batch, KEY)[1]["dino"])
    assert found[0] == found[1] != found[2] == found[3]
    np.testing.assert_allclose(found[2], last, rtol=1e-5)


def test_small_views_are_seen_by_the_online_nets_only():
    case = CASES["dino"]()
    batch = case.batch | {"views": (*case.batch["views"], images(2)[:, :4, :4])}
    state, metrics = jax.jit(case.method.step)(start(case), batch, KEY)
    assert np.isfinite(metrics["dino"]) and state.step == 1


@pytest.mark.parametrize(
    "options",
    [{"teacher_temperature": 0.0}, {"student_temperature": 0.0}, {"momentum": 1.5}, {"centre_momentum": -1.0}, {"steps": 0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
        start(CASES["dino"](**options))
