"""How programs are lowered and compiled in tests, which compile far longer than they compute."""

import platform
from importlib.metadata import version


def xla_flags(devices: int) -> str:
    """So many fake CPU devices, and programs that compile six times as fast.

    LLVM's optimisations are left out, a program is not split for the threads of a compiler that has two cores, and XLA's plain
    emitters are taken, which later versions no longer have. Those contract a product and a sum into one instruction where they
    stand in one kernel; an instruction set without it keeps bits the same everywhere.
    """
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    flags += " --xla_cpu_parallel_codegen_split_count=1"
    if platform.machine() == "x86_64" and version("jaxlib").startswith("0.10."):
        flags += " --xla_cpu_use_fusion_emitters=false --xla_cpu_max_isa=AVX"
    return flags


def share_mlir_context():
    """From now on all programs are lowered in one MLIR context; called again, in a new one.

    JAX makes one for each program, which takes as long as all else that lowers a small program. A context keeps every constant
    and every type it has seen. A JAX that makes its contexts elsewhere goes on as it would.
    """
    from jax._src.interpreters import mlir

    make = getattr(mlir, "make_ir_context", None)
    if make is not None:
        make = getattr(make, "fresh", make)
        context = make()
        share = lambda: context  # noqa: E731
        share.fresh = make
        mlir.make_ir_context = share
