import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look, unweighted

from kdjax import methods
from kdjax.core import InputError
from kdjax.methods.offline.vid import _Guess, vid_objective


def test_golden_through_the_regressor(golden):
    g = golden("repdistiller/vid")
    guess = _Guess(float(g["hp_init_pred_var"]), g["w_conv1_kernel"].shape[-1])
    layers = {f"conv{k}": {"kernel": g[f"w_conv{k}_kernel"]} for k in (1, 2, 3)}

    def term(student, log_scale):
        return jnp.mean(guess.apply({"params": {**layers, "log_scale": log_scale}}, student, g["f_t"]))

    value, slopes = jax.jit(jax.value_and_grad(term, (0, 1)))(g["f_s"], g["w_log_scale"])
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    for slope, wanted in zip(slopes, (g["grad_f_s"], g["grad_w_log_scale"]), strict=True):
        np.testing.assert_allclose(slope, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def start(variance, **taps):
    """The term at the start, of a student with maps of zeros."""
    objective = vid_objective(variance=variance)
    seen = look({name: jnp.zeros((2, 4, 4, 3)) for name in taps}, taps)
    params, _ = objective.adapter.init(jax.random.key(0), seen)
    return unweighted(objective, seen, params)


def test_a_sure_guess_costs_the_logarithm_of_its_variance():
    """The regressors have no bias, so that of zeros they guess zeros: log v / 2 for each stage."""
    zeros = jnp.zeros((2, 4, 4, 2))
    np.testing.assert_allclose(start(5.0, stage1=zeros), np.log(5) / 2, rtol=1e-4)
    np.testing.assert_allclose(start(0.1, stage1=zeros, stage2=zeros[:, :2, :2]), np.log(0.1), rtol=1e-4)
    np.testing.assert_allclose(start(5.0, stage1=zeros + 3), np.log(5) / 2 + 9 / 10, rtol=1e-4)


def test_a_variance_below_the_least_is_refused():
    with pytest.raises(InputError, match="variance=0"):
        vid_objective(variance=0.0)


def test_the_defaults_are_the_benchmark_s():
    assert defaults(methods.vid) == {"label_weight": 1.0, "weight": 1.0, "variance": 5.0, "layers": ()}
