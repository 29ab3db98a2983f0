"""The canonical convolution against `lax.conv_general_dilated`: values and gradients, everywhere a step may run."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from kdjax.models import canonical_convolution, conv2d, convolution, fan_in_bias, fan_out_uniform

NHWC = ("NHWC", "HWIO", "NHWC")


def draw(shape_x, shape_w, dtype=jnp.float32):
    a, b = jax.random.split(jax.random.key(0))
    return jax.random.normal(a, shape_x).astype(dtype), jax.random.normal(b, shape_w).astype(dtype)


def loss(f, x, w):
    y = f(x, w).astype(jnp.float32)
    return jnp.sum(jnp.sin(y + jnp.linspace(0, 3, y.size).reshape(y.shape)))  # no position is like another


def value_and_gradients(f):
    return jax.value_and_grad(partial(loss, f), (0, 1))


def ours(strides, pads):
    return lambda x, w: canonical_convolution(x, w, strides, pads)


def plain(strides, pads):
    return lambda x, w: lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=NHWC)


def assert_same(a, b, tolerance=1e-6):
    def close(u, v):
        u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
        np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(v).max())))

    assert jax.tree.map(lambda x: (x.shape, x.dtype), a) == jax.tree.map(lambda x: (x.shape, x.dtype), b)
    jax.tree.map(close, a, b)


CASES = [
    # height, width, kernel, strides, pads
    (8, 8, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (7, 9, (3, 3), (1, 1), ((1, 1), (1, 1))),
    (8, 8, (3, 3), (2, 2), ((1, 1), (1, 1))),
    (7, 8, (3, 3), (2, 2), ((1, 1), (1, 1))),
    (8, 7, (1, 1), (1, 1), ((0, 0), (0, 0))),
    (8, 7, (1, 1), (2, 2), ((0, 0), (0, 0))),
    (15, 16, (7, 7), (2, 2), ((3, 3), (3, 3))),
    (9, 10, (7, 7), (1, 1), ((3, 3), (3, 3))),
    (9, 8, (3, 2), (3, 1), ((0, 2), (1, 0))),
    (6, 7, (3, 3), (2, 3), ((0, 0), (0, 0))),
    (5, 6, (3, 3), (1, 2), ((4, 5), (3, 4))),
    (9, 9, (2, 2), (3, 3), ((0, 0), (0, 0))),
]


@pytest.mark.parametrize(("height", "width", "kernel", "strides", "pads"), CASES)
def test_values_and_gradients_equal_the_plain_convolution(height, width, kernel, strides, pads):
    x, w = draw((2, height, width, 3), (*kernel, 3, 4))
    assert_same(
        jax.jit(value_and_gradients(ours(strides, pads)))(x, w),
        jax.jit(value_and_gradients(plain(strides, pads)))(x, w),
    )


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_are_those_of_the_plain_convolution(groups):
    x, w = draw((2, 7, 6, 6), (3, 3, 6 // groups, 12))
    options = {"dimension_numbers": NHWC, "feature_group_count": groups}

    def f(conv):
        return jax.jit(value_and_gradients(lambda x, w: conv(x, w, (2, 1), [(1, 1), (1, 0)], **options)))(x, w)

    assert_same(f(convolution), f(lax.conv_general_dilated))


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(1, 0), (2, 1)]])
def test_takes_every_padding_of_lax(padding):
    x, w = draw((2, 7, 6, 3), (3, 3, 3, 4))

    def f(conv):
        return value_and_gradients(lambda x, w: conv(x, w, (2, 2), padding, dimension_numbers=NHWC))

    assert_same(jax.jit(f(convolution))(x, w), jax.jit(f(lax.conv_general_dilated))(x, w))


def test_gradients_under_scan():
    x, w = draw((2, 6, 6, 3), (3, 3, 3, 3))

    def descend(f):
        def step(w, _):
            value, (dx, dw) = value_and_gradients(f)(x, w)
            return w - 0.01 * dw, (value, dx)

        return jax.jit(lambda w: lax.scan(step, w, None, length=3))(w)

    args = ((2, 2), ((1, 1), (1, 1)))
    assert_same(descend(ours(*args)), descend(plain(*args)), 1e-5)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_gradients_under_vmap(axes):
    x, w = draw((2, 2, 6, 7, 3), (2, 3, 3, 3, 4))
    x, w = (a if axis == 0 else a[0] for a, axis in zip((x, w), axes, strict=True))
    args = ((2, 2), ((1, 1), (1, 1)))
    a, b = (jax.jit(jax.vmap(value_and_gradients(f(*args)), axes))(x, w) for f in (ours, plain))
    assert_same(a, b)


def test_second_gradients():
    x, w = draw((1, 5, 5, 2), (3, 3, 2, 2))

    def penalty(f):
        return jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.square(jax.grad(partial(loss, f))(x, w))), (0, 1)))(x, w)

    args = ((1, 1), ((1, 1), (1, 1)))
    assert_same(penalty(ours(*args)), penalty(plain(*args)), 1e-5)


@pytest.mark.parametrize("check_vma", [True, False])
def test_gradients_inside_shard_map(check_vma):
    # One device is enough: the types that tell replicated from varying arrays do not depend on the size of the mesh.
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w = draw((2, 5, 5, 2), (3, 3, 2, 3))

    def gradient(conv):
        def local(x, w):
            def f(w):
                y = conv(x, w, (1, 1), "SAME", dimension_numbers=NHWC)
                return lax.pmean(jnp.sum(jnp.sin(y)), "data")

            return lax.pmean(jax.grad(f)(w), "data")

        specs = (PartitionSpec("data"), PartitionSpec())
        return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=check_vma))(x, w)

    assert_same(gradient(convolution), gradient(lax.conv_general_dilated))


def test_bfloat16():
    x, w = draw((2, 6, 6, 3), (3, 3, 3, 4), jnp.bfloat16)
    args = ((2, 2), ((1, 1), (1, 1)))
    a, b = (jax.jit(value_and_gradients(f(*args)))(x, w) for f in (ours, plain))
    assert a[1][0].dtype == a[1][1].dtype == jnp.bfloat16
    assert_same(a, b, 1e-2)


def is_canonical(conv, x, w, **options):
    pads = [(1, 1), (1, 1)]
    return "custom_vjp" in str(jax.make_jaxpr(lambda x, w: conv(x, w, (1, 1), pads, **options))(x, w))


def test_only_what_it_supports_takes_the_canonical_form(monkeypatch):
    x, w = draw((2, 6, 6, 4), (3, 3, 4, 4))
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert is_canonical(convolution, x, w, dimension_numbers=NHWC)
    assert is_canonical(convolution, x, w[:, :, :2], dimension_numbers=NHWC, feature_group_count=2)
    others = [
        (x, w, {"dimension_numbers": NHWC, "rhs_dilation": (2, 2)}),
        (x, w, {"dimension_numbers": NHWC, "lhs_dilation": (2, 1)}),
        (x, w, {"dimension_numbers": NHWC, "preferred_element_type": jnp.float32}),
        (x, w, {"dimension_numbers": NHWC, "batch_group_count": 2}),
        (x, w, {"dimension_numbers": ("NHWC", "HWOI", "NHWC")}),
        (x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), {}),
    ]
    for lhs, rhs, options in others:
        assert not is_canonical(convolution, lhs, rhs, **options), options
        shapes = [
            jax.eval_shape(lambda f=f, o=options, a=lhs, b=rhs: f(a, b, (1, 1), [(1, 1), (1, 1)], **o))
            for f in (convolution, lax.conv_general_dilated)
        ]
        assert shapes[0].shape == shapes[1].shape, options
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not is_canonical(convolution, x, w, dimension_numbers=NHWC)


def test_layer_keeps_the_size_has_no_bias_and_starts_as_he_says():
    layer = conv2d(64, 3)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 5, 6, 32)))
    kernel = variables["params"]["kernel"]
    assert y.shape == (1, 5, 6, 64)
    assert set(variables["params"]) == {"kernel"}
    assert float(kernel.std()) == pytest.approx((2 / (3 * 3 * 64)) ** 0.5, rel=0.03)
    assert float(jnp.abs(kernel).max()) > 3 * float(kernel.std())  # normal, not truncated at two deviations
    assert is_canonical(lambda x, *_, **__: layer.apply(variables, x), jnp.ones((1, 5, 6, 32)), kernel)


def test_layer_pads_alike_on_both_sides():
    layer = conv2d(1, 3, stride=2)
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1.0)
    y = layer.apply({"params": {"kernel": kernel}}, jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1))
    assert y[0, :, :, 0].tolist() == [[0.0, 0.0], [0.0, 6.0]]


def test_layer_with_groups_and_bias():
    layer = conv2d(4, 3, groups=4, bias=True, stride=2)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 7, 7, 4)))["params"]
    assert jax.tree.map(jnp.shape, shapes) == {"bias": (4,), "kernel": (3, 3, 1, 4)}


def test_biases_and_transposed_kernels_start_where_pytorch_has_them():
    bias = np.asarray(fan_in_bias(25)(jax.random.key(0), (4000,)))
    assert bias.min() < -0.199 and 0.199 < bias.max() <= 0.2 and abs(bias.mean()) < 0.01
    params = conv2d(256, 3, bias=True, bias_init=fan_in_bias(9 * 4)).init(jax.random.key(0), jnp.ones((1, 3, 3, 4)))["params"]
    assert 0.95 / 6 < np.abs(params["bias"]).max() <= 1 / 6
    kernel = np.abs(fan_out_uniform(jax.random.key(0), (4, 4, 3, 25)))
    assert 0.99 / 20 < kernel.max() <= 1 / 20  # PyTorch counts the channels that come out of a transposed convolution
