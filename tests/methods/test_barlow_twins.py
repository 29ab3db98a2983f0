import numpy as np
from first_step import first_step


def test_the_loss_is_of_the_correlations_between_views():
    step = first_step("barlow_twins")
    z1, z2 = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (taps["embedding"] for taps in step.online))
    c = z1.T @ z2 / len(z1)
    expected = np.sum((np.diag(c) - 1) ** 2) + 0.2 * np.sum((c - np.diag(np.diag(c))) ** 2)
    np.testing.assert_allclose(step.metrics["barlow_twins"], expected, rtol=1e-3)


def test_the_scale_multiplies_the_loss_and_not_the_term():
    scaled, plain = first_step("barlow_twins", scale=0.1), first_step("barlow_twins")
    np.testing.assert_allclose(scaled.metrics["barlow_twins"], plain.metrics["barlow_twins"], rtol=1e-6)
    np.testing.assert_allclose(scaled.metrics["loss"], 0.1 * plain.metrics["loss"], rtol=1e-5)
