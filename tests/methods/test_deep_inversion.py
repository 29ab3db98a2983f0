"""DeepInversion against the benchmark's code; what its rounds do is in test_rounds.py."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES
from synthetic import KEY, golden, recorded, reference_net
from tiny_nets import frozen, without_batch_norm

from kdjax import methods
from kdjax.core import Frozen, InputError, Net

page = importlib.import_module("kdjax.methods.data_free.deep_inversion")


def test_the_objective_of_pixels_is_the_benchmark_s():
    g = golden("datafree/deepinversion_objective")
    (student, _), (teacher, weights) = (reference_net(g, who) for who in ("student", "teacher"))
    rows, *shape = g["images"].shape
    method = methods.deep_inversion(
        student, teacher, optax.sgd(0.1), recorded(), shape=shape, classes=5, one_hot=float(g["hp_oh"]),
        batch_norm=float(g["hp_bn"]), adversarial=float(g["hp_adv"]), total_variation=float(g["hp_tv"]),
        norm=float(g["hp_l2"]), roll=0, mirror=False,
        synthesis_steps=2, student_steps=1, pool=rows, padding=0,
    )  # fmt: skip
    batch = {"index": jnp.arange(rows)}
    state = method.init(KEY, batch, {"teacher": weights})
    maker = state.maker.replace(params={"pixels": jnp.asarray(g["images"], jnp.float32)})
    state = state._replace(maker=maker, labels=jnp.asarray(g["targets"], jnp.int32), step=jnp.int32(1))  # in the midst of a round
    new, metrics = jax.jit(method.step)(state, batch, KEY)
    np.testing.assert_allclose(metrics["synthesis_loss"], g["loss"], rtol=1e-5)
    for name, part in (
        ("one_hot", "onehot"),
        ("batch_norm", "bn"),
        ("adversarial", "adv"),
        ("total_variation", "tv"),
        ("norm", "l2"),
    ):
        np.testing.assert_allclose(metrics[f"synthesis_{name}"], g[f"loss_{part}"], rtol=2e-4)
    expected = g["grad_images"]
    np.testing.assert_allclose(new.maker.opt["pixels"], expected, atol=1e-4 * np.abs(expected).max())


def test_images_are_in_units_of_the_data():
    """A teacher that sees the mean of its first batch: pixels of standard normal noise, scaled and shifted, held in [0, 1]."""
    seen = {}

    def apply(params, stats, x, *, train, key=None):
        jax.debug.callback(lambda x: seen.setdefault("image", np.asarray(x)), x)
        return {"pooled": x.mean((1, 2)), "logits": x.reshape(len(x), -1) @ params}, stats

    net = Net(lambda key, x: (jnp.ones((x[0].size, 4)) / 100, {}), apply)
    method = methods.deep_inversion(
        net, net, optax.sgd(0.1), optax.sgd(0.1), shape=(16, 16, 2), classes=4, batch_norm=0.0, mean=(0.4, 0.6), std=(0.1, 0.2),
        synthesis_steps=1, student_steps=1, pool=64, padding=0,
    )  # fmt: skip
    batch = {"index": jnp.arange(64)}
    state = method.init(KEY, batch, {"teacher": Frozen(*net.init(KEY, jnp.zeros((1, 16, 16, 2))), "of a test")})
    new, _ = jax.jit(method.step)(state, batch, KEY)
    jax.effects_barrier()
    image = seen["image"]
    np.testing.assert_allclose(image.mean((0, 1, 2)), [0.4, 0.6], atol=0.01)
    np.testing.assert_allclose(image.std((0, 1, 2)), [0.1, 0.2], rtol=0.05)
    shown = new.maker.params["pixels"] * jnp.array([0.1, 0.2]).reshape(1, 1, 1, 2) + jnp.array([0.4, 0.6]).reshape(1, 1, 1, 2)
    assert float(shown.min()) >= -1e-6 and float(shown.max()) <= 1 + 1e-6
    assert new.pool.rows.dtype == jnp.uint8


def test_all_images_of_a_batch_are_rolled_and_mirrored_alike():
    """By up to so many pixels to each side, each way about as often."""
    images = np.arange(2 * 5 * 6, dtype=np.float32).reshape(2, 5, 6, 1)
    ways = [(down, right, turn) for down in (-1, 0, 1) for right in (-1, 0, 1) for turn in (1, -1)]
    known = {np.roll(images, (down, right), (1, 2))[:, :, ::turn].tobytes(): (down, right, turn) for down, right, turn in ways}
    moved = jax.jit(jax.vmap(lambda key: page._move(key, images, 1, True)))(jax.random.split(KEY, 200))
    assert {known[np.asarray(one).tobytes()] for one in moved} == set(ways)
    still = jax.jit(jax.vmap(lambda key: page._move(key, images, 0, False)))(jax.random.split(KEY, 5))
    np.testing.assert_array_equal(still, np.stack([images] * 5))


def test_the_adversarial_term_is_a_flag():
    for weight, there in ((0.0, False), (1.0, True)):
        case = CASES["deep_inversion"](adversarial=weight)
        state = jax.eval_shape(case.method.init, KEY, case.batch, case.given)
        assert ("synthesis_adversarial" in jax.eval_shape(case.method.step, state, case.batch, KEY)[1]) == there


def test_a_teacher_without_batch_norm_is_refused():
    net = without_batch_norm()
    method = methods.deep_inversion(
        net, net, optax.sgd(0.1), optax.sgd(0.1), shape=(8, 8, 1), classes=4, pool=16, synthesis_steps=1, student_steps=1
    )
    with pytest.raises(InputError, match=r"^batch_norm=10.0 is not accepted: this teacher has no batch-norm layers; 0 leaves"):
        jax.eval_shape(method.init, KEY, {"index": jnp.arange(16)}, {"teacher": frozen(net)})
