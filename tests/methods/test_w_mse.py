import jax
import numpy as np
import pytest
from cases import CASES, start
from first_step import KEY, cosines, first_step

from kdjax.core import InputError


def whiten(z):
    z = z - z.mean(0)
    return np.linalg.solve(np.linalg.cholesky(z.T @ z / (len(z) - 1)), z.T).T


def test_the_whole_batch_as_one_part():
    step = first_step("w_mse", size=16)
    z1, z2 = (whiten(taps["embedding"]) for taps in step.online)
    np.testing.assert_allclose(step.metrics["w_mse"], np.mean(2 - 2 * cosines(z1, z2)), rtol=1e-3)


def test_parts_are_the_same_for_all_views_and_drawn_anew():
    step, case = first_step("w_mse"), CASES["w_mse"]()
    _, metrics = jax.jit(case.method.step)(start(case), case.batch | {"views": case.batch["views"][:1] * 2}, KEY)
    np.testing.assert_allclose(metrics["w_mse"], 0, atol=1e-4)  # equal views: parts that differed would not agree
    assert step.metrics["w_mse"] > 0.01


@pytest.mark.parametrize(
    ("options", "words"),
    [({"size": 5}, r"^size=5 is not accepted: expected a divisor of the batch, 16"), ({"repeats": 0}, "^repeats=0")],
)
def test_options_out_of_range_are_refused(options, words):
    case = CASES["w_mse"]
    with pytest.raises(InputError, match=words):
        made = case(**options)
        jax.eval_shape(made.method.step, start(made), made.batch, KEY)
