import numpy as np
import pytest
from first_step import first_step


def low_variance(z):
    return np.mean(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)))


def covariances(z):
    c = np.cov(z.T)
    return np.sum((c - np.diag(np.diag(c))) ** 2) / z.shape[1]


def correlations(z):
    z = z - z.mean(0)
    z = z / np.maximum(np.linalg.norm(z, axis=0), 1e-12)
    c = z.T @ z
    return np.mean((c - np.diag(np.diag(c))) ** 2)


@pytest.mark.parametrize("halve", [True, False])
def test_vicreg(halve):
    step = first_step("vicreg", halve_variance=halve)
    z1, z2 = (taps["embedding"] for taps in step.online)
    varied = (low_variance(z1) + low_variance(z2)) * (0.5 if halve else 1)
    expected = 2 * np.mean((z1 - z2) ** 2) + varied + 0.5 * (covariances(z1) + covariances(z2))
    np.testing.assert_allclose(step.metrics["vicreg"], expected, rtol=1e-4)


def test_vibcreg():
    step = first_step("vibcreg")
    z1, z2 = (taps["embedding"] for taps in step.online)
    expected = 2 * np.mean((z1 - z2) ** 2) + low_variance(z1) + low_variance(z2) + 3 * (correlations(z1) + correlations(z2))
    np.testing.assert_allclose(step.metrics["vibcreg"], expected, rtol=1e-4)
