import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import Connector

RNG = np.random.default_rng(0)


def start(inputs, shape, **options):
    module, x = Connector(shape, **options), jnp.asarray(RNG.normal(size=(3, *inputs)), jnp.float32)
    return module, module.init(jax.random.key(0), x, False), x


def test_golden_of_twice_the_side(golden):
    g = golden("repdistiller/hint_convreg")
    module, variables, _ = start(g["f_s"].shape[1:], g["f_t"].shape[1:])
    params = {
        "conv": {"kernel": g["w_conv_kernel"], "bias": g["w_conv_bias"]},
        "bn": {"scale": g["w_bn_scale"], "bias": g["w_bn_bias"]},
    }

    def loss(x):
        found, _ = module.apply(variables | {"params": params}, x, True, mutable=["batch_stats"])
        return jnp.mean((found - g["f_t"]) ** 2), found

    (value, found), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(g["f_s"]))
    np.testing.assert_allclose(found, g["regressed"], atol=1e-5)
    np.testing.assert_allclose(value, g["loss"], rtol=1e-5)
    np.testing.assert_allclose(slope, g["grad_f_s"], rtol=0, atol=1e-4 * np.abs(g["grad_f_s"]).max())


@pytest.mark.parametrize(
    ("inputs", "shape", "kernel"),
    [
        ((8, 8, 5), (4, 4, 6), (3, 3, 5, 6)),
        ((4, 4, 5), (8, 8, 6), (4, 4, 5, 6)),
        ((7, 5, 5), (4, 2, 6), (4, 4, 5, 6)),
        ((4, 4, 5), (4, 4, 6), (1, 1, 5, 6)),
    ],
)
def test_the_shape_says_which_convolution(inputs, shape, kernel):
    module, variables, x = start(inputs, shape)
    assert variables["params"]["conv"]["kernel"].shape == kernel
    assert variables["params"]["conv"]["bias"].shape == (6,)
    found, new = module.apply(variables, x, True, mutable=["batch_stats"])
    assert found.shape == (3, *shape) and found.min() == 0
    assert np.any(new["batch_stats"]["bn"]["mean"] != 0)
    bare, _ = Connector(shape, relu=False).apply(variables, x, True, mutable=["batch_stats"])
    assert bare.min() < 0
    np.testing.assert_allclose(bare.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_array_equal(jax.nn.relu(bare), found)


def test_half_the_side_is_the_transpose_of_twice_the_side():
    """Each input pixel spreads over 4x4 outputs from row 2i - 1 on, as PyTorch's transposed convolution of padding 1 has it."""
    module, variables, _ = start((3, 3, 1), (6, 6, 1), relu=False)
    kernel = jnp.arange(16.0).reshape(4, 4, 1, 1)
    params = {**variables["params"], "conv": {"kernel": kernel, "bias": jnp.zeros(1)}}
    pixel = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1.0)
    found = np.asarray(module.apply(variables | {"params": params}, pixel, False))[0, :, :, 0] * np.sqrt(1 + 1e-5)
    wanted = np.zeros((6, 6))
    wanted[1:5, 1:5] = np.arange(16.0).reshape(4, 4)[::-1, ::-1]  # flax stores the kernel turned round
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_shapes_without_a_connector_are_refused():
    with pytest.raises(InputError, match="no connector from a map of 4x4 to 6x6: expected at most twice the side"):
        start((4, 4, 5), (6, 6, 6))


@pytest.mark.parametrize(
    ("inputs", "shape", "counted"),
    [((8, 8, 5), (4, 4, 64), 9 * 5), ((2, 2, 5), (4, 4, 64), 16 * 64), ((4, 4, 5), (2, 2, 64), 9 * 5)],
    ids=["half the side", "twice the side", "without padding"],
)
def test_kernel_and_bias_start_uniform_as_in_pytorch(inputs, shape, counted):
    _, variables, _ = start(inputs, shape)
    for x in variables["params"]["conv"].values():
        assert 0.9 < np.abs(x).max() * np.sqrt(counted) <= 1
