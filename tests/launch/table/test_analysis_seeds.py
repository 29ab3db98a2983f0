"""Analyses of several seeds."""

import numpy as np
import pytest
from scipy import stats

from launch.table.analysis_seeds import numbers, over_seeds


def network(x):
    scores = {"auroc": 50 + x, "fpr95": 40 - x}
    return {
        "calibration": {"accuracy": 90.0, "nll": 0.1, "ece": x, "bins": {}},
        "sharpness": {"eigenvalue": 2 * x, "eigenvalue_error": 0.1, "trace": 3 * x, "trace_error": 0.1},
        "landscape": {"gap": {"scales": [0.05, 0.1], "mean": [x, x**2], "error": [0.1, 0.1]}},
        "ood": {"npz:some/where/omni_glot.npz": {"probability": scores, "odin": {"auroc": 60.0, "fpr95": 30.0}}},
        "attack": {"epsilons": [2], "clean": 90.0, "fgsm": [x], "pgd": [x - 1]},
        "corruption": {"mean": 70.0, "kinds": {}},
    }  # fmt: skip


def test_numbers_are_those_of_the_parts():
    found = numbers(network(3.0))
    assert found["ece %"] == 3.0 and found["Hessian trace"] == 9.0 and found["rise of the loss at 0.1 of each filter"] == 9.0
    assert found["AUROC of omni glot.npz %"] == 53.0 and found["FPR95 of omni glot.npz by ODIN %"] == 30.0
    assert found["accuracy under FGSM of 2/255 %"] == 3.0 and found["accuracy under PGD of 2/255 %"] == 2.0
    assert numbers({"calibration": network(1.0)["calibration"]}) == {"accuracy %": 90.0, "nll": 0.1, "ece %": 1.0}


def test_gains_are_paired_by_seed():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 5.5])
    table = over_seeds([{"round0": network(x), "round1": network(y)} for x, y in zip(a, b, strict=True)], "round0")
    found = table["top Hessian eigenvalue"]
    assert "gain" not in found["round0"] and found["round1"]["std"] == pytest.approx(np.std(2 * b, ddof=1))
    interval = stats.ttest_rel(2 * b, 2 * a).confidence_interval()
    np.testing.assert_allclose(found["round1"]["gain"], (2 * (b - a).mean(), *interval), rtol=1e-6)
