import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import paraphraser
from tiny_nets import frozen, labelled_images, staged

from kdjax import methods
from kdjax.core import InputError, from_linen, jit_fast_compile
from kdjax.methods.offline.paraphraser import Paraphraser, factor_of

MAP = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 3, 6)), jnp.float32)


def middle(kernel):
    """A convolution that returns what it is given."""
    return jnp.zeros_like(kernel).at[1, 1].set(jnp.eye(*kernel.shape[2:]))


def test_one_that_returns_everything_has_no_error():
    """A map after ReLU passes unchanged where all six convolutions pass it on; below 0 each would take nine tenths."""
    teacher = staged(width=6)
    case = paraphraser(rate=1.0, tx=optax.sgd(0.0))
    state = jit_fast_compile(case.method.init)(jax.random.key(0), case.batch, case.given)
    same = jax.tree.map(lambda x: middle(x) if x.ndim == 4 else jnp.zeros_like(x), state.paraphraser.params)
    state = state._replace(paraphraser=state.paraphraser.replace(params=same))
    new, metrics = jax.jit(case.method.step)(state, case.batch, jax.random.key(1))
    assert metrics["reconstruction"] == 0 and new.step == 1
    outputs = jax.jit(case.method.predict)(state, case.batch["image"])
    taps, _ = teacher.apply(case.given["teacher"].params, case.given["teacher"].stats, case.batch["image"], train=False)
    np.testing.assert_allclose(outputs["paraphraser"]["factor"], taps["stage2"], atol=1e-6)


def test_the_factor_is_that_of_the_encoder():
    net = from_linen(Paraphraser(0.5))
    params, stats = net.init(jax.random.key(0), MAP)
    taps, _ = net.apply(params, stats, MAP, train=False)
    assert taps["factor"].shape == (4, 3, 3, 3) and taps["map"].shape == MAP.shape
    np.testing.assert_array_equal(factor_of(params, MAP), taps["factor"])
    with pytest.raises(InputError, match="a map of 6 channels"):
        factor_of(params, MAP[..., :5])


def test_the_map_is_the_last_one_or_a_named_one_and_may_be_cached():
    teacher = staged(width=6)
    given = {"teacher": frozen(teacher)}
    for layer, channels in (("", 8), ("stage1", 6)):
        method = methods.paraphraser(teacher, optax.sgd(0.1), layer=layer)
        state = jax.eval_shape(method.init, jax.random.key(0), labelled_images(), given)
        assert state.paraphraser.params["encoder"]["conv1"]["kernel"].shape == (3, 3, channels, channels)
    cached = labelled_images() | {"teacher": {"stage1": jnp.zeros((16, 2, 2, 5))}}
    state = jax.eval_shape(method.init, jax.random.key(0), cached, given)
    assert state.paraphraser.params["encoder"]["conv1"]["kernel"].shape == (3, 3, 5, 5)


def test_a_rate_that_is_not_above_zero_is_refused():
    with pytest.raises(InputError, match="rate=0"):
        paraphraser(rate=0.0)


def test_kernels_and_biases_start_as_pytorch_s():
    """The way back is of transposed convolutions, of which the channels that come out are counted."""
    params, _ = from_linen(Paraphraser(0.5)).init(jax.random.key(0), jnp.zeros((1, 3, 3, 40)))
    for stack, counted in (("encoder", (40, 40, 20)), ("decoder", (20, 40, 40))):
        for number, channels in enumerate(counted, 1):
            for x in params[stack][f"conv{number}"].values():
                assert 0.85 < np.abs(x).max() * np.sqrt(9 * channels) <= 1
