"""Test-wide settings: eight fake CPU devices, no implicit rank promotion, a compilation cache that outlives the run."""

import ctypes
import gc
import os
import pathlib
import tempfile

from tests.fast_compile import share_mlir_context, xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("XLA_FLAGS", xla_flags(8))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "kdjax-test-cache"))
# Whoever meets a program again, another worker or a process that a test starts, reads it from there.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of several workers wait for each other, ten times as long
# Large arrays go back to the system when they are freed, in the workers that pytest-xdist starts after this.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000")

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
share_mlir_context()
# Tracing makes many objects, few of them in cycles: at Python's pace the collector of cycles took 4% of the time.
gc.set_threshold(100_000, 10, 10)

GOLDEN = pathlib.Path(__file__).parent / "golden"


def pytest_collection_finish():
    """The collector of cycles need not walk through what was imported and collected."""
    gc.collect()
    gc.freeze()


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
    share_mlir_context()
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # else glibc keeps the small pieces of a compiler, two thirds of the memory
