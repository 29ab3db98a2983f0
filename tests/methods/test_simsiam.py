import jax
import numpy as np
from cases import CASES, close, start
from first_step import KEY, cosines, first_step


def test_the_loss_is_the_mean_of_both_directions():
    step = first_step("simsiam")
    p, z = ([taps[name] for taps in step.online] for name in ("embedding", "projector/embedding"))
    expected = -np.mean(cosines(p[0], z[1]) + cosines(p[1], z[0])) / 2
    np.testing.assert_allclose(step.metrics["simsiam"], expected, rtol=1e-4)


def test_gradients_are_accumulated_over_slices():
    """A batch of two equal halves: each slice has the statistics and the gradient of the whole."""
    case = CASES["simsiam"](micro=2)
    batch = jax.tree.map(lambda x: x[np.repeat(np.arange(8), 2)], case.batch)
    steps = [jax.jit(CASES["simsiam"](micro=n).method.step)(start(case), batch, KEY)[0] for n in (1, 2)]
    close(steps[0].online.params, steps[1].online.params, atol=1e-6)
