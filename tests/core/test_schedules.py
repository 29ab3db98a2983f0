import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core


def test_linear_warmup():
    factors = [float(jax.jit(lambda k: core.linear_warmup(k, 4))(jnp.int32(k))) for k in range(7)]
    assert factors == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert core.linear_warmup(0, 0) == 1.0


def test_sigmoid_rampup():
    e = np.arange(100)
    expected = np.exp(-5 * (1 - np.minimum(e / 80, 1)) ** 2)
    np.testing.assert_allclose(jax.jit(core.sigmoid_rampup, static_argnums=1)(jnp.arange(100), 80), expected, rtol=1e-5)
    assert core.sigmoid_rampup(0, 0) == 1.0


def test_sigmoid_rampup_golden(golden):
    for name in ("one/cifar_one", "ffl/train"):
        g = golden(name)
        weight = core.sigmoid_rampup(int(g["hp_epoch"]), int(g["hp_consistency_rampup"]))
        np.testing.assert_allclose(weight, g.get("consistency_weight", np.exp(-5 * (1 - g["hp_epoch"] / 80) ** 2)), rtol=1e-6)


@pytest.mark.parametrize("name", ["cyclical_early", "cyclical_late", "modified"])
def test_cyclic_golden(golden, name):
    g = golden(f"cfl/{name}")
    eta = core.cyclic(int(g["hp_epoch"]), int(g["hp_epochs"]), factor=float(g["hp_factor"]))
    np.testing.assert_allclose(eta, g["hp_eta"], rtol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("epochs", [1, 9, 20])
def test_cyclic_starts_and_ends_easy(factor, epochs):
    eta = np.array(jax.vmap(lambda e: core.cyclic(e, epochs, factor=factor))(jnp.arange(epochs)))
    assert eta[0] == 1 and np.all((eta >= 0) & (eta <= 1))
    low = eta.argmin()
    assert np.all(np.diff(eta[: low + 1]) <= 0) and np.all(np.diff(eta[low:]) >= 0)
    if epochs > 1:
        np.testing.assert_allclose(eta[-1], 0.0 if factor == 1 else 1.0, atol=1e-6)
        assert abs(low * factor - (epochs - 1)) < factor + 1


@pytest.mark.parametrize("options", [{"epochs": 10, "factor": 0.5}, {"epochs": 0, "factor": 2.0}])
def test_cyclic_is_refused_out_of_range(options):
    with pytest.raises(core.InputError, match=r"factor=0.5|epochs=0"):
        core.cyclic(0, **options)


def test_cycled_numbers_are_largest_in_the_middle():
    at = core.cyclic_schedule("decay", (1.0, 3.0), steps_per_epoch=3, epochs=9)
    easy = lambda e: 1 - e / 4 if e <= 4 else e / 4 - 1  # noqa: E731
    expected = [3 - 2 * easy(step // 3) for step in range(27)]
    np.testing.assert_allclose([at(step) for step in range(27)], expected, rtol=1e-6)
    constant = core.cyclic_schedule("decay", (0.1, 0.1), steps_per_epoch=3, epochs=9, cycle=4.0)
    assert {float(constant(step)) for step in range(27)} == {float(np.float32(0.1))}
    with pytest.raises(core.InputError, match=r"^cycle=0.5 is not accepted: expected a finite number, at least 1"):
        core.cyclic_schedule("decay", (1.0, 3.0), steps_per_epoch=3, epochs=9, cycle=0.5)


def test_a_span_the_wrong_way_round_is_refused():
    for span in ((2.0, 1.0), (1.0,), (-1.0, 1.0)):
        with pytest.raises(core.InputError, match=r"^decay=\(.*\) is not accepted: expected \(min, max\) with 0 <= min <= max"):
            core.cyclic_schedule("decay", span, steps_per_epoch=3, epochs=9)
