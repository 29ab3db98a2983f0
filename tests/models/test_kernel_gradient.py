"""Blocks of images against the plain convolution; `BYTES` is made small, so that small batches are cut up."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from kdjax.models import canonical_convolution
from kdjax.models.kernel_gradient import kernel_gradient, shared_out

blocks = sys.modules[kernel_gradient.__module__]


@pytest.fixture(autouse=True)
def few_bytes(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES", 1)


def draw(shape_x, shape_w, dtype=jnp.float32):
    a, b = jax.random.split(jax.random.key(0))
    return jax.random.normal(a, shape_x).astype(dtype), jax.random.normal(b, shape_w).astype(dtype)


def lossy(conv, strides, pads):
    def loss(x, w):
        y = conv(x, w, strides, pads).astype(jnp.float32)
        return jnp.sum(jnp.sin(y + jnp.linspace(0, 3, y.size).reshape(y.shape)))  # no position is like another

    return loss


plain = partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def assert_same(a, b, tolerance=1e-6):
    def close(u, v):
        assert u.shape == v.shape and u.dtype == v.dtype
        u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
        np.testing.assert_allclose(u, v, rtol=0, atol=tolerance * np.abs(v).max())

    jax.tree.map(close, a, b)


def loops(f, *args):
    return str(jax.make_jaxpr(f)(*args)).count("scan[")


CASES = [
    # images, height, width, kernel, strides, pads
    (8, 8, 8, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (9, 7, 6, (3, 3), (2, 1), ((1, 1), (0, 1))),
    (11, 5, 6, (1, 2), (2, 2), ((0, 0), (0, 0))),
    (13, 6, 5, (3, 2), (1, 3), ((0, 2), (1, 0))),
    (16, 5, 5, (2, 2), (1, 2), ((3, 2), (2, 3))),
]


@pytest.mark.parametrize(("images", "height", "width", "kernel", "strides", "pads"), CASES)
def test_blocks_add_up_to_the_gradient_of_the_plain_convolution(images, height, width, kernel, strides, pads):
    x, w = draw((images, height, width, 3), (*kernel, 3, 4))
    both = [jax.value_and_grad(lossy(conv, strides, pads), (0, 1)) for conv in (canonical_convolution, plain)]
    assert [loops(f, x, w) for f in both] == [1, 0]
    assert_same(*(jax.jit(f)(x, w) for f in both), 3e-6)  # sums in another order


ONE_PIXEL = [
    # images, height, width, strides, pads
    (9, 6, 5, (1, 1), ((0, 0), (0, 0))),
    (5, 7, 8, (2, 2), ((0, 0), (0, 0))),
    (4, 5, 6, (2, 3), ((1, 0), (2, 3))),
    (3, 6, 6, (1, 2), ((-1, 0), (0, -2))),
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("images", "height", "width", "strides", "pads"), ONE_PIXEL)
def test_that_of_one_pixel_is_a_product_of_matrices(images, height, width, strides, pads, dtype):
    x, w = draw((images, height, width, 3), (1, 1, 3, 4), dtype)
    both = [jax.grad(lossy(conv, strides, pads), (0, 1)) for conv in (canonical_convolution, plain)]
    assert loops(both[0], x, w) == 0
    assert_same(*(jax.jit(f)(x, w) for f in both), 3e-6 if dtype == jnp.float32 else 2e-2)
    convolutions = [str(jax.make_jaxpr(jax.grad(lossy(canonical_convolution, strides, pads), by))(x, w)) for by in (0, 1)]
    assert [text.count("= conv_general_dilated[") for text in convolutions] == [2, 2] and "dot_general" in convolutions[1]


def test_of_one_pixel_under_scan_for_members_and_twice():
    x, w = draw((2, 5, 5, 4, 2), (2, 1, 1, 2, 3))

    def penalty(conv):
        loss = lossy(conv, (2, 1), ((0, 0), (0, 0)))

        def member(x, w):
            twice = jax.grad(lambda w: jnp.sum(jnp.square(jax.grad(loss, 1)(x, w))))
            return lax.scan(lambda w, _: (w - 0.001 * twice(w), None), w, None, length=2)[0]

        return jax.jit(jax.vmap(member))(x, w)

    assert_same(penalty(canonical_convolution), penalty(plain), 1e-5)


@pytest.mark.parametrize("images", [4, 7])
def test_what_one_block_holds_is_convolved_as_a_whole(images):
    x, w = draw((images, 4, 4, 2), (3, 3, 2, 2))
    assert loops(jax.grad(lossy(canonical_convolution, (1, 1), ((1, 1), (1, 1)))), x, w) == 0


def test_blocks_hold_a_megabyte_and_four_images_at_least(monkeypatch):
    monkeypatch.setattr(blocks, "BYTES", 2**20)
    assert shared_out(64, 32 * 32 * 32 * 4) == (8, 8)
    assert shared_out(64, 2**30) == (16, 4)
    assert shared_out(64, 2**14) == (1, 64)
    for images in range(1, 200):
        for size in (2**14, 2**16, 2**18, 2**22):
            count, each = shared_out(images, size)
            assert (count - 1) * each < images <= count * each and (count == 1 or each >= 4)
            assert count == 1 or each < 2 * max(4, 2**20 // size)


def test_bfloat16_sums_in_float32():
    x, g = draw((512, 3, 3, 2), (512, 3, 3, 2), jnp.bfloat16)
    exact = jnp.einsum("bhwi,bhwo->io", x.astype(jnp.float32), g.astype(jnp.float32))
    for kernel, pads in (((1, 1), ((0, 0), (0, 0))), ((3, 3), ((1, 1), (1, 1)))):
        found = jax.jit(lambda x, g, k=kernel, p=pads: kernel_gradient(x, g, k, (1, 1), p))(x, g)
        assert found.dtype == jnp.bfloat16
        assert_same(found.astype(jnp.float32)[kernel[0] // 2, kernel[1] // 2], exact, 4e-3)


def test_under_scan_and_for_members():
    x, w = draw((3, 9, 5, 5, 2), (3, 3, 3, 2, 2))

    def descend(conv):
        loss = lossy(conv, (2, 1), ((1, 1), (1, 1)))

        def member(x, w):
            return lax.scan(lambda w, _: (w - 0.01 * jax.grad(loss, 1)(x, w), None), w, None, length=2)[0]

        return jax.jit(jax.vmap(member))(x, w), jax.jit(lambda x, w: lax.map(lambda both: member(*both), (x, w)))(x, w)

    ours, theirs = descend(canonical_convolution), descend(plain)
    assert_same(ours, theirs, 1e-5)


def test_second_gradients():
    x, w = draw((9, 5, 4, 2), (3, 3, 2, 2))

    def penalty(conv):
        loss = lossy(conv, (1, 2), ((1, 1), (1, 0)))
        return jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.square(jax.grad(loss, 1)(x, w))), (0, 1)))(x, w)

    assert_same(penalty(canonical_convolution), penalty(plain), 1e-5)


@pytest.mark.parametrize("check_vma", [True, False])
def test_inside_shard_map(check_vma):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, g = draw((8, 4, 4, 2), (8, 4, 4, 3))
    local = partial(kernel_gradient, kernel=(3, 3), strides=(1, 1), pads=((1, 1), (1, 1)))
    spread = jax.shard_map(
        lambda x, g: lax.psum(local(x, g), "data"), mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec(),
        check_vma=check_vma,
    )  # fmt: skip
    assert_same(jax.jit(spread)(x, g), jax.jit(local)(x, g))


def test_rows_spread_over_devices_stay_there():
    """Each device convolves its own rows of every block; nothing but sums of kernels travels."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, g = draw((16, 4, 4, 2), (16, 4, 4, 3))
    f = jax.jit(lambda x, g: kernel_gradient(x, g, (3, 3), (1, 1), ((1, 1), (1, 1))))
    placed = [jax.device_put(a, jax.NamedSharding(mesh, PartitionSpec("data"))) for a in (x, g)]
    text = str(f.lower(*placed).compile().as_text())
    assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text
    assert_same(np.asarray(f(*placed)), np.asarray(f(x, g)))
