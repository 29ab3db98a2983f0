"""The reference arrays that tests of losses compare with."""

import pathlib

import numpy as np
import pytest

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """`golden("group/name")`: the arrays of one file, computed by the original authors' code."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    return load
