"""Test-wide settings: eight fake CPU devices, no implicit rank promotion, a compilation cache that outlives the run."""

import ctypes
import os
import pathlib
import tempfile

from tests.fast_compile import xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("XLA_FLAGS", xla_flags(8))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "kdjax-test-cache"))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of several workers wait for each other, ten times as long
# Large arrays go back to the system when they are freed, in the workers that pytest-xdist starts after this.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000")

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """`golden("group/name")`: the arrays of one file, computed by the original authors' code."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    return load


@pytest.fixture(scope="module", autouse=True)
def let_programs_go():
    """What a file compiled does not stay in memory beside what the next one compiles."""
    yield
    jax.clear_caches()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # else glibc keeps the small pieces of a compiler, two thirds of the memory
