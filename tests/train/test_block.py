import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TRAIN, assert_close, noisy, stage

from kdjax import augment, methods, models
from kdjax.core import InputError, split
from kdjax.data import epoch_of, epoch_rows, resident
from kdjax.train import stack
from kdjax.train.block import block
from kdjax.train.devices import PARALLEL, find_devices, one_device, place
from kdjax.train.optimiser import sgd


def plan(steps, size=40, batch=16):
    epochs = np.array([epoch_of(s, size=size, batch=batch) for s in range(steps)], np.int32)
    return np.stack([epoch_rows(7, s, size=size, batch=batch) for s in range(steps)]), epochs


def trained(devices, blocks, members=1, how="map"):
    """The State after blocks of the given lengths."""
    net = models.conv_net((4,), 3, axis_name=devices.axis_name)
    method = methods.supervised(net, sgd(0.05, momentum=0.9, weight_decay=5e-4), axis_name=devices.axis_name)
    one = stage(method)
    image = jnp.zeros((16, 4, 4, 1))
    state = stack([method.init(jax.random.key(i), {"image": image}, {}) for i in range(members)])
    moving, frozen = split(place(state, devices, lead=1))
    moving = jax.tree.map(jnp.copy, moving)
    compiled = block(one, state, how, False, devices)
    rows, epochs = plan(sum(blocks))
    at = 0
    for k in blocks:
        moving, metrics = compiled(
            moving, frozen, place(resident(TRAIN), devices), jax.random.key(2), rows[at : at + k], epochs[at : at + k], np.int32(at)
        )
        at += k
    return moving, metrics


@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize(("blocks", "tolerance"), [([1], 1e-6), ([1] * 50, 1e-5)])
def test_eight_devices_equal_one(parallel, blocks, tolerance):
    (many, metrics), (one, wanted) = trained(find_devices(parallel), blocks), trained(one_device(), blocks)
    assert_close(jax.device_get(many), jax.device_get(one), tolerance)
    assert_close(jax.device_get(metrics), jax.device_get(wanted), 10 * tolerance)
    for x in jax.tree.leaves(many):
        assert len(x.sharding.device_set) == 8 and x.sharding.is_fully_replicated


@pytest.mark.parametrize("parallel", ["jit", "shard_map"])
def test_the_batch_is_spread_over_the_devices(parallel):
    """Every device takes its own rows through the net: an eighth of the work each."""
    devices = find_devices(parallel)
    net = models.conv_net((4,), 3, axis_name=devices.axis_name)
    method = methods.supervised(net, sgd(0.1, momentum=0.9, weight_decay=0.0), axis_name=devices.axis_name)
    state = place(stack([method.init(jax.random.key(0), {"image": jnp.zeros((16, 4, 4, 1))}, {})]), devices)
    rows, epochs = plan(1)
    compiled = block(stage(method), state, "map", False, devices)
    arrays = place(resident(TRAIN), devices)
    text = compiled.lower(state, [], arrays, jax.random.key(0), rows, epochs, np.int32(0)).compile().as_text()
    assert "all-reduce" in text and "f32[2,4,4,4]" in text and "f32[16,4,4,4]" not in text


def test_a_block_is_its_steps():
    (many, last), (one, _) = trained(one_device(), [4, 4]), trained(one_device(), [1] * 8)
    assert_close(many, one, 1e-6)
    assert last["loss"].shape == (1,)


def test_noise_follows_row_and_epoch_and_the_key_of_a_step_its_number():
    """The method below trains nothing and shows what it is given."""
    seen = methods.supervised(models.conv_net((4,), 3), sgd(0.0, momentum=0.0, weight_decay=0.0))

    def step(state, batch, key):
        shown = {"index": batch["index"], "image": batch["image"], "label": batch["label"], "key": jax.random.key_data(key) % 65536}
        return state._replace(step=state.step + 1), shown

    one = stage(seen._replace(step=step))
    state = stack([seen.init(jax.random.key(0), {"image": jnp.zeros((16, 4, 4, 1))}, {})])
    rows, epochs = plan(5)
    arrays, key = resident(TRAIN), jax.random.key(11)
    compiled = block(one, state, "map", False, one_device())
    moving = split(state)[0]
    for at in range(5):
        now = slice(at, at + 1)
        moving, shown = compiled(moving, [], arrays, key, rows[now], epochs[now], np.int32(at))
        assert shown["index"][0].tolist() == rows[at].tolist() == epoch_rows(7, at, size=40, batch=16).tolist()
        np.testing.assert_array_equal(shown["label"][0], TRAIN.read(rows[at])["label"])
        draw = jax.random.fold_in(jax.random.fold_in(key, 0), at // 2)
        want = [
            noisy(jax.random.fold_in(jax.random.fold_in(draw, row), 0), image.astype(np.float32) / 255)
            for row, image in zip(rows[at], TRAIN.read(rows[at])["image"], strict=True)
        ]
        np.testing.assert_allclose(shown["image"][0], np.stack(want), atol=1e-6)
        wanted = jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, 1), at))
        np.testing.assert_array_equal(shown["key"][0], wanted % 65536)  # exact in float32
    assert int(moving.step) == 5 and one.augment is not augment.per_image


def test_a_method_that_changes_its_state_is_refused():
    method = methods.supervised(models.conv_net((4,), 3), sgd(0.05, momentum=0.9, weight_decay=0.0))

    def step(state, batch, key):
        new, metrics = method.step(state, batch, key)
        return new._replace(step=new.step.astype(jnp.float32)), metrics

    one = stage(method._replace(step=step))
    state = stack([method.init(jax.random.key(0), {"image": jnp.zeros((16, 4, 4, 1))}, {})])
    rows, epochs = plan(1)
    compiled = block(one, state, "map", False, one_device())
    with pytest.raises(InputError, match="'step': types: int32 != float32"):
        compiled(*split(state), resident(TRAIN), jax.random.key(2), rows, epochs, np.int32(0))
