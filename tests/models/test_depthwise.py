"""Convolutions of each channel alone against `lax.conv_general_dilated`: values and gradients, everywhere a step may run."""

import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from kdjax.models import convolution, depthwise_convolution

NHWC = ("NHWC", "HWIO", "NHWC")
TWO = ((2, 2), ((1, 1), (1, 1)))


def draw(sides, kernel=(3, 3), channels=5, dtype=jnp.float32, images=2):
    a, b = jax.random.split(jax.random.key(0))
    return (jax.random.normal(k, s).astype(dtype) for k, s in ((a, (images, *sides, channels)), (b, (*kernel, 1, channels))))


def ours(strides, pads):
    return lambda x, w: depthwise_convolution(x, w, strides, pads)


def plain(strides, pads):
    return lambda x, w: lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=NHWC, feature_group_count=w.shape[3])


def loss(f, x, w):
    y = f(x, w).astype(jnp.float32)
    return jnp.sum(jnp.sin(y + jnp.linspace(0, 3, y.size).reshape(y.shape)))  # no position is like another


def value_and_gradients(f):
    return jax.value_and_grad(partial(loss, f), (0, 1))


def assert_same(a, b, tolerance=2e-6):
    def close(u, v):
        u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
        np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(v).max())))

    assert jax.tree.map(lambda x: (x.shape, x.dtype), a) == jax.tree.map(lambda x: (x.shape, x.dtype), b)
    jax.tree.map(close, a, b)


@pytest.mark.parametrize(
    ("sides", "kernel", "strides", "pads"),
    [
        ((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((7, 8), (3, 3), *TWO),
        ((8, 9), (3, 2), (3, 1), ((0, 2), (1, 0))),
        ((6, 7), (3, 3), (2, 3), ((0, 0), (0, 0))),
        ((5, 6), (3, 3), (1, 2), ((4, 5), (3, 4))),
        ((9, 9), (2, 2), (3, 3), ((0, 0), (0, 0))),
        ((4, 5), (1, 1), (2, 2), ((0, 0), (0, 0))),
    ],
)
def test_values_and_gradients_equal_the_plain_convolution(sides, kernel, strides, pads):
    x, w = draw(sides, kernel)
    a, b = (jax.jit(value_and_gradients(f(strides, pads)))(x, w) for f in (ours, plain))
    assert_same(a, b)


def test_kernel_gradients_add_up_over_blocks_of_images(monkeypatch):
    monkeypatch.setattr(sys.modules["kdjax.models.kernel_gradient"], "BYTES", 1)
    x, w = draw((5, 6), images=11, channels=3)
    both = [value_and_gradients(f(*TWO)) for f in (ours, plain)]
    assert [str(jax.make_jaxpr(f)(x, w)).count("scan[") for f in both] == [1, 0]
    assert_same(*(jax.jit(f)(x, w) for f in both))

    def penalty(f):
        return jax.jit(jax.grad(lambda w: jnp.sum(jnp.square(value_and_gradients(f(*TWO))(x, w)[1][1]))))(w)

    assert_same(penalty(ours), penalty(plain), 1e-5)


def test_one_loop_sums_for_all_pixels_of_a_kernel():
    x, w = draw((6, 6))
    program = str(jax.make_jaxpr(value_and_gradients(ours(*TWO)))(x, w))
    assert program.count("= reduce[") == 1


def test_gradients_under_scan_and_vmap():
    x, w = draw((6, 7))

    def descend(f):
        def step(w, _):
            value, (dx, dw) = value_and_gradients(f(*TWO))(x, w)
            return w - 0.01 * dw, (value, dx)

        return lambda w: lax.scan(step, w, None, length=3)

    kernels = jnp.stack([w, 0.5 * w])
    assert_same(*(jax.jit(jax.vmap(descend(f)))(kernels) for f in (ours, plain)), 1e-5)


def test_second_gradients():
    x, w = draw((5, 5), channels=2)

    def penalty(f):
        return jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.square(jax.grad(partial(loss, f(*TWO)))(x, w))), (0, 1)))(x, w)

    assert_same(penalty(ours), penalty(plain), 1e-5)


def test_bfloat16_sums_in_float32():
    x, w = draw((6, 6), dtype=jnp.bfloat16)
    a, b = (jax.jit(value_and_gradients(f(*TWO)))(x, w) for f in (ours, plain))
    assert a[1][0].dtype == a[1][1].dtype == jnp.bfloat16
    assert_same(a, b, 1e-2)
    program = str(jax.make_jaxpr(value_and_gradients(ours(*TWO)))(x, w))  # compiled, it may keep float32 by itself
    assert "f32[2,3,3,5] = add" in program and not re.search(r"bf16\[[\d,]*\] = (add|mul|reduce)", program)


@pytest.mark.parametrize("check_vma", [True, False])
def test_gradients_inside_shard_map_and_the_way_into_it(check_vma):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w = draw((5, 5))

    def gradient(conv):
        def local(x, w):
            def f(w):
                y = conv(x, w, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=5)
                return lax.pmean(jnp.sum(jnp.sin(y)), "data")

            return lax.pmean(jax.grad(f)(w), "data")

        specs = (PartitionSpec("data"), PartitionSpec())
        return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=check_vma))(x, w)

    assert_same(gradient(convolution), gradient(lax.conv_general_dilated))
    options = {"dimension_numbers": NHWC, "feature_group_count": 5}
    program = str(jax.make_jaxpr(lambda x, w: convolution(x, w, (1, 1), "SAME", **options))(x, w))
    assert "conv_general_dilated" not in program
