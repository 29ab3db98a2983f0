"""Outputs over a whole split, for every member."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import linear, run

from kdjax import methods
from kdjax.core import Frozen
from kdjax.data import array_source, episodes, pairs
from kdjax.train import stack
from kdjax.train.collect import Collector, on_devices, targets
from kdjax.train.devices import find_devices

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 1)).astype(np.uint8)
MASKS = np.arange(7 * 6, dtype=np.int32).reshape(7, 2, 3)
PLAIN = array_source(IMAGES, np.arange(7) % 3)
SOURCE = PLAIN._replace(read=lambda rows: {**PLAIN.read(rows), "mask": MASKS[rows], "scale": np.ones(len(rows), np.float32)})
TEACHER = Frozen(*linear().init(jax.random.key(9), IMAGES), "teacher")
METHOD = methods.kd(linear(), linear(), optax.sgd(0.1))
BATCH = {"image": jnp.zeros((2, 4, 4, 1)), "label": jnp.zeros(2, jnp.int32)}
STATE = stack([METHOD.init(jax.random.key(i), BATCH, {"teacher": TEACHER}) for i in range(2)])


def by_hand(params):
    return (IMAGES.reshape(7, -1) / 255).astype(np.float32) @ np.asarray(params[0]) + np.asarray(params[1])


def scaled(batch):
    """What the networks see: two columns of a batch."""
    return batch["image"] / 255 * batch["scale"][:, None, None, None]


def collecting(folder, batch=256, **changed):
    one = run(folder, splits={"test": SOURCE}, **changed)
    return Collector(METHOD.predict, one, on_devices(one), scaled, needs=METHOD.needs, batch=batch)(STATE)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("how", "devices"), [("map", 1), ("vmap", 1), ("map", 2)])
def test_all_rows_once_in_order_whatever_the_batch(tmp_path, how, devices, resident):
    collect = collecting(tmp_path, 3, how=how, devices=find_devices(count=devices), resident=resident)
    outputs, columns = collect("test", "logits")  # batches of 3, 3 and 1; on two devices of 4 and 3
    assert list(outputs) == ["student"] and list(outputs["student"]) == ["logits"]
    expected = [by_hand([p[i] for p in STATE.learner.params["student"]]) for i in range(2)]
    np.testing.assert_allclose(outputs["student"]["logits"], expected, rtol=1e-5, atol=1e-5)
    assert sorted(columns) == ["index", "label", "mask"]
    np.testing.assert_array_equal(columns["index"], np.arange(7))
    np.testing.assert_array_equal(columns["label"], np.arange(7) % 3)
    np.testing.assert_array_equal(columns["mask"], MASKS)


def test_given_networks_only_when_asked_and_taps_only_where_they_are(tmp_path):
    collect = collecting(tmp_path)
    outputs, _ = collect("test", "logits", "pooled", "nowhere", given=True)
    assert {n: set(taps) for n, taps in outputs.items()} == {n: {"logits", "pooled"} for n in ("student", "teacher")}
    np.testing.assert_allclose(outputs["teacher"]["logits"], [by_hand(TEACHER.params)] * 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs["student"]["pooled"][0], outputs["student"]["pooled"][1])


@pytest.mark.parametrize(("how", "devices"), [("map", 1), ("vmap", 2)])
def test_what_a_function_makes_of_the_state_itself(tmp_path, how, devices):
    collect = collecting(tmp_path, how=how, devices=find_devices(count=devices))
    found = collect.state(lambda state, factor: {"params": factor * state.learner.params["student"][0], "step": state.step}, 2.0)
    np.testing.assert_allclose(found["params"], 2 * STATE.learner.params["student"][0], rtol=1e-6)
    assert isinstance(found["params"], np.ndarray) and found["step"].tolist() == [int(STATE.step)] * 2


def test_columns_that_a_view_reads_come_when_asked_for(tmp_path):
    _, columns = collecting(tmp_path, 3)("test", columns=("image", "nowhere"))
    assert sorted(columns) == ["image", "index", "label", "mask"]
    np.testing.assert_array_equal(columns["image"], IMAGES)


def test_targets_are_what_a_view_does_not_read():
    batch = SOURCE.read(np.arange(2))
    assert targets(lambda b: {"x": b["image"], "y": (b["label"], jnp.sum(b["mask"]))}, batch) == ["index", "label", "scale"]
    assert targets(jax.jit(scaled), batch) == ["index", "label"]  # what is passed to a compiled function counts
    assert targets(lambda b: 0, batch) == ["image", "index", "label", "mask", "scale"]


def sums(outputs, batch, where, scale):
    """Sums over rows and over pairs of rows, and one of a given network."""
    logits = scale * outputs["student"]["logits"] * where[:, None]
    return {"logits": logits.sum(0), "label": jnp.sum(batch["label"] * where), "teacher": outputs["teacher"]["logits"][0]}


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("devices", [1, 8])
def test_sums_are_added_over_all_rows_once(tmp_path, devices, resident):
    collect = collecting(tmp_path, devices=find_devices(count=devices), resident=resident)
    expected = [2 * by_hand([p[i] for p in STATE.learner.params["student"]]).sum(0) for i in range(2)]
    for batch in (3, 1):  # the last batch of threes holds one row; single rows are not spread over devices
        found = collect.reduce("test", sums, np.float32(2), batch=batch)
        np.testing.assert_allclose(found["logits"], expected, rtol=1e-5, atol=1e-4)
        assert found["label"].tolist() == [np.sum(np.arange(7) % 3)] * 2


def test_sums_over_the_batches_of_a_sampler(tmp_path):
    """Differences between the rows of a pair see the pairs together; an episode is a batch of its own."""
    sampler = pairs(np.arange(7) % 3, pairs=2, positive=0.0)

    def apart(outputs, batch, where):
        assert batch["label"].shape == where.shape == (4,)
        return jnp.sum(batch["label"].reshape(2, 2)[:, 0] != batch["label"].reshape(2, 2)[:, 1])

    def first(outputs, batch, where):
        return batch["index"][:1]

    for resident in (True, False):
        collect = collecting(tmp_path, resident=resident)
        assert collect.reduce("test", apart, sampler=sampler).tolist() == [2 * 4] * 2  # its first epoch: seven anchors
        assert collect.reduce("test", apart, sampler=sampler, steps=5).tolist() == [2 * 5] * 2
        tasks = episodes(np.arange(7) % 3, way=2, shot=1, query=1)
        found = collect.reduce("test", first, sampler=tasks, steps=2, seed=1)
        assert found.tolist() == [[sum(tasks.rows(1, step)[0] for step in range(2))]] * 2


def test_single_rows_of_several_sizes(tmp_path):
    def read(rows):
        batch = PLAIN.read(rows)
        wide = batch["index"][0] % 2
        return {**batch, "image": np.ones((1, 2 + wide, 2, 1), np.uint8), "index": batch["index"]}

    def pixels(outputs, batch, where):
        return outputs["net"]["image"].sum() * where[0]

    one = run(tmp_path, splits={"test": PLAIN._replace(read=read)}, resident=False, devices=find_devices(count=2))
    ask = Collector(lambda state, x: {"net": {"image": x}}, one, on_devices(one), lambda batch: batch["image"])
    assert ask(STATE).reduce("test", pixels, batch=1).tolist() == [4 * 4 + 3 * 6] * 2


def test_what_a_function_makes_of_all_rows(tmp_path):
    """With arrays of its own, as the weights of a network that judges what another has made."""

    def judged(outputs, batch, weights):
        return {"score": outputs["student"]["logits"] @ weights, "mask": batch["mask"]}

    weights = np.ones((3, 2), np.float32)
    for resident in (True, False):
        found, columns = collecting(tmp_path, 3, resident=resident).rows("test", judged, weights)
        expected = [by_hand([p[i] for p in STATE.learner.params["student"]]) @ weights for i in range(2)]
        np.testing.assert_allclose(found["score"], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found["mask"], [MASKS] * 2)
        assert columns["label"].tolist() == (np.arange(7) % 3).tolist()
