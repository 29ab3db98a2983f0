"""A program, compiled, and what is known of it before it runs."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from launch.bench.collectives import sent_bytes
from launch.bench.flops import count_flops


class Program(NamedTuple):
    """What a call of a compiled program takes.

    Attributes:
      compile_seconds: of tracing and compiling it.
      compile_cpu_seconds: the same in seconds of all cores, which a loaded machine lengthens less.
      flops: as `count_flops` has them.
      memory_bytes: of its arguments, results and all between on one device.
      donated_bytes: of results that take the place of arguments.
      sent_bytes: that collectives bring to each device.
    """

    compile_seconds: float
    compile_cpu_seconds: float
    flops: int
    memory_bytes: int
    donated_bytes: int
    sent_bytes: int

    def each(self, steps: int) -> "Program":
        """Of one of so many steps in a call."""
        return self._replace(flops=self.flops // steps, sent_bytes=self.sent_bytes // steps)


def compile_program(f: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], Program]:
    """Compiles what `jax.jit` or `jax.pmap` returned.

    Args:
      f: such a function.
      *args: its arguments, arrays or shapes.
    """
    began, cpu = time.perf_counter(), time.process_time()
    compiled = f.lower(*args).compile()
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    memory = compiled.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes - memory.alias_size_in_bytes
    facts = Program(spent, cpu, count_flops(f, *args), peak, memory.alias_size_in_bytes, sent_bytes(compiled.as_text()))
    return compiled, facts


def measured_peak(side: int = 2048) -> Callable[[], jax.Array]:
    """A product of square matrices in float32, the most arithmetic that this device does in a second: `2 side^3` operations."""
    x = jax.random.normal(jax.random.key(0), (side, side))
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(x))
    return lambda: product(x)
