"""What is read off a compiled program: its arithmetic, its collectives, what it donates."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from launch.bench.collectives import Sent, collectives, sent_bytes
from launch.bench.flops import count_flops
from launch.bench.program import compile_program

X = jax.ShapeDtypeStruct((8, 6, 6, 4), jnp.float32)
W = jax.ShapeDtypeStruct((3, 3, 4, 5), jnp.float32)


def convolve(x, w, strides=(1, 1)):
    return lax.conv_general_dilated(x, w, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_arithmetic_is_what_xla_counts_without_loops():
    def f(x, w):
        return jnp.sum(convolve(x, w).reshape(8, -1) @ jnp.ones((80, 3)))

    counted = count_flops(f, X, W)
    assert counted == 2 * (8 * 4 * 4 * 5 * 36 + 8 * 80 * 3)
    known = jax.jit(f).lower(X, W).compile().cost_analysis()["flops"]
    assert known == pytest.approx(counted, rel=0.02)


def test_loops_count_often_choices_as_the_dearest_and_dead_ends_not_at_all():
    x, one = jnp.ones((4, 4)), 2 * 4**3
    assert count_flops(lambda x: lax.scan(lambda y, _: (y @ x, None), x, None, length=5)[0], x) == 5 * one
    assert count_flops(lambda x: lax.cond(x[0, 0] > 0, lambda y: y @ y @ y, lambda y: y @ y, x), x) == 2 * one
    assert count_flops(lambda x: (x @ x, x @ x @ x)[0], x) == one
    assert count_flops(jax.jit(lambda x: jax.jit(lambda y: (y @ y, y))(x)[1]), x) == 0
    both = count_flops(jax.grad(lambda x, w: jnp.sum(jnp.sin(convolve(x, w, (2, 2)))), (0, 1)), X, W)
    assert (
        count_flops(lambda x, w: convolve(x, w, (2, 2)), X, W) * 2.9
        < both
        < 8 * count_flops(lambda x, w: convolve(x, w, (2, 2)), X, W)
    )


def spread(f, out=None):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=P("data"), out_specs=P() if out is None else out, check_vma=False))


def test_what_travels_between_devices():
    def f(x):
        total = lax.scan(lambda c, _: (lax.psum(c * x, "data"), None), x, None, length=3)[0]
        return total, lax.all_gather(x, "data", tiled=True)

    text = spread(f).lower(jnp.ones((16, 5))).compile().as_text()
    assert sorted(collectives(text)) == [Sent("all-gather", 16 * 5 * 4, 1, 1), Sent("all-reduce", 2 * 5 * 4, 1, 3)]
    assert sent_bytes(text) == 320 + 3 * 40
    assert collectives(spread(lambda x: 2 * x, P("data")).lower(jnp.ones((16, 5))).compile().as_text()) == []


def test_arrays_that_travel_together_and_started_ones():
    text = """HloModule m
%add (a: f32[], b: f32[]) -> f32[] {
}

ENTRY %main (x: bf16[4]) -> bf16[4] {
  %one = (f32[2,3]{1,0}, bf16[4]{0}, /*index=2*/pred[5]{0}) all-reduce(%x, %y, %z), to_apply=%add
  %two = (f32[2]{0}, f32[16]{0}) all-gather-start(%x), dimensions={0}
  %three = f32[16]{0} all-gather-done(%two)
}"""
    assert collectives(text) == [Sent("all-reduce", 24 + 8 + 5, 3, 1), Sent("all-gather", 64, 1, 1)]


def test_a_program_tells_what_it_takes_over():
    compiled, program = compile_program(jax.jit(lambda x: x @ x, donate_argnums=0), jnp.ones((32, 32)))
    assert program.donated_bytes == 4096 and program.flops == 2 * 32**3 and program.sent_bytes == 0
    assert program.memory_bytes >= 4096 and program.compile_seconds > 0 and compiled(jnp.ones((32, 32))).shape == (32, 32)
    assert program._replace(flops=8).each(4).flops == 2
