import numpy as np
from first_step import first_step, log_softmax, unit


def test_the_loss_is_a_softmax_over_all_other_views_of_the_batch():
    """All views pass together."""
    step = first_step("simclr", together=True)
    z = unit(np.concatenate([taps["embedding"] for taps in step.online]))
    logits, n = z @ z.T / 0.1, len(z) // 2
    np.fill_diagonal(logits, -np.inf)
    partner = np.roll(np.arange(2 * n), n)
    expected = -np.mean(log_softmax(logits)[np.arange(2 * n), partner])
    np.testing.assert_allclose(step.metrics["nt_xent"], expected, rtol=1e-4)
