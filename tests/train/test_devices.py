import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny import TRAIN, assert_close, assert_same, linear, mapped, run, sgd, stage

from kdjax import methods, models
from kdjax.core import Frozen, InputError
from kdjax.data import array_source, epochs
from kdjax.train import Pace, run_stages
from kdjax.train.devices import (
    LARGE,
    PARALLEL,
    find_devices,
    on_host,
    one_device,
    own_rows,
    place,
    put_rows,
    shardings,
    within_process,
)

WIDE = array_source(np.random.default_rng(0).integers(0, 256, (32, 16, 16, 1)).astype(np.uint8), np.arange(32) % 256)


@pytest.mark.parametrize(("parallel", "axis"), [("jit", None), ("shard_map", "data"), ("pmap", "data")])
def test_all_devices_in_their_order(parallel, axis):
    devices = find_devices(parallel)
    assert devices.size == 8 and dict(devices.mesh.shape) == {"data": 8, "model": 1} and devices.axis_name == axis
    assert list(devices.mesh.devices.flat) == jax.devices()
    assert find_devices(parallel, count=3).size == 3 and one_device().size == 1
    assert len({str(find_devices(p, count=n).label) for p in PARALLEL for n in (1, 2)}) == 6


def test_groups_share_one_copy():
    assert dict(find_devices(fsdp=4).mesh.shape) == {"data": 2, "model": 4}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"parallel": "tpu"}, "parallel='tpu' is not accepted: expected jit, shard_map, pmap"),
        ({"count": 9}, "devices=9 is not accepted: expected 0 to 8, the devices there are"),
        ({"count": -1}, "devices=-1 is not accepted"),
        ({"fsdp": 3}, "fsdp=3 is not accepted: expected a divisor of 8, the devices of the run"),
        ({"fsdp": 0}, "fsdp=0 is not accepted"),
        ({"fsdp": 2, "parallel": "pmap"}, "fsdp=2 is not accepted with parallel='pmap'"),
    ],
)
def test_refusals(options, line):
    with pytest.raises(InputError, match=line):
        find_devices(options.pop("parallel", "jit"), **options)


def test_large_arrays_are_cut_along_their_longest_axis_that_can_be():
    devices = find_devices(fsdp=4)
    shape = lambda *s: jax.ShapeDtypeStruct(s, np.float32)  # noqa: E731
    tree = {
        "long": shape(4, 2, LARGE), "middle": shape(2, LARGE, 3), "small": shape(LARGE - 4), "odd": shape(LARGE + 1, 3),
        "scalar": shape(), "exact": shape(LARGE),
    }  # fmt: skip
    found = {k: s.spec for k, s in shardings(tree, devices).items()}
    assert found == {
        "long": P(None, None, "model"), "middle": P(None, "model", None), "small": P(), "odd": P(), "scalar": P(),
        "exact": P("model"),
    }  # fmt: skip
    members = {"rows": shape(LARGE, 4), "weights": shape(2 * LARGE, 8, LARGE)}
    assert {k: s.spec for k, s in shardings(members, devices, lead=1).items()} == {"rows": P(), "weights": P(None, None, "model")}
    assert {s.spec for s in jax.tree.leaves(shardings(tree, find_devices()))} == {P()}


def test_arrays_go_there_and_back():
    devices, tree = find_devices(fsdp=8), {"cut": np.arange(2.0 * LARGE).reshape(2, LARGE), "copied": np.arange(3)}
    placed = place(tree, devices)
    assert placed["cut"].addressable_shards[0].data.shape == (2, LARGE // 8) and placed["copied"].is_fully_replicated
    assert_same(on_host(placed), jax.tree.map(np.asarray, jax.device_put(tree)))
    assert within_process(placed) is placed


def test_rows_lie_on_all_devices_in_order():
    rows = np.arange(48).reshape(3, 16)
    for devices in (find_devices(), find_devices(fsdp=4), find_devices("pmap")):
        assert own_rows(devices, 16).tolist() == list(range(16))
        placed = put_rows({"x": rows}, devices, axis=1)["x"]
        np.testing.assert_array_equal(placed, rows)
        shards = {s.device: s.data for s in placed.addressable_shards}
        assert [shards[d][0].tolist() for d in jax.devices()] == [[2 * i, 2 * i + 1] for i in range(8)]


def supervised(axis):
    return methods.supervised(models.conv_net((4,), 3, axis_name=axis), sgd(), axis_name=axis)


def distilled(folder, devices):
    """A teacher and two students of it, through the whole loop."""

    def given(results):
        return {"teacher": results["teacher"].frozen()}

    def student(axis):
        net = models.conv_net((4,), 3, axis_name=axis)
        return methods.kd(net, net, sgd(), axis_name=axis)

    stages = {"teacher": mapped(supervised, devices), "student": mapped(student, devices, given=given, members=2)}
    return run_stages(stages, run(folder, devices=devices))


@pytest.mark.parametrize("parallel", PARALLEL)
def test_a_run_on_eight_devices_equals_one(tmp_path, parallel):
    many, one = (distilled(tmp_path / str(d.size), d) for d in (find_devices(parallel), one_device()))
    for name, result in one.items():
        assert_close(many[name].weights, result.weights, 1e-5)
        assert_close(many[name].measures, result.measures, 1e-5)


def test_cut_weights_of_teacher_and_student_train_as_whole_ones(tmp_path):
    seen = []

    def watched(method):
        def step(state, batch, key):
            for weights in (state.learner.params["student"][0], state.given["teacher"].params[0]):
                jax.debug.inspect_array_sharding(weights, callback=lambda s: seen.append(s.shard_shape((256, 256))))
            return method.step(state, batch, key)

        return method._replace(step=step)

    def trained(devices):
        net = linear(256)
        given = {"teacher": Frozen(*net.init(jax.random.key(5), np.zeros((1, 16, 16, 1))), "teacher")}
        one = stage(
            watched(methods.kd(net, net, sgd())), source=WIDE, given=lambda results: given, steps=6, batch=16, pace=Pace(2, 2, 2),
            evaluate=lambda collect, split, final: {"accuracy": collect(split, "logits")[0]["student"]["logits"].mean((1, 2))},
        )  # fmt: skip
        splits = {"test": WIDE}
        return run_stages({"only": one}, run(tmp_path / str(devices.mesh.shape["model"]), devices=devices, splits=splits))["only"]

    cut = trained(find_devices(fsdp=4))
    assert set(seen) == {(64, 256)}  # a quarter of the teacher and of the student on each device
    whole = trained(one_device())
    assert_close(cut.weights, whole.weights, 1e-6)
    assert cut.measures["test_accuracy"] == pytest.approx(whole.measures["test_accuracy"], abs=1e-5)


@pytest.mark.parametrize("parallel", PARALLEL)
def test_a_smaller_last_batch_is_spread_over_devices_too(tmp_path, parallel):
    def trained(devices, **how):
        sampler = epochs(TRAIN.size, 16, keep_last=True)  # 16, 16 and 8 rows
        one = mapped(supervised, devices, steps=6, sampler=sampler, pace=Pace(3, 3, 3))
        return run_stages({"only": one}, run(tmp_path / f"{devices.size}{how}", devices=devices, **how))["only"].weights

    many = find_devices(parallel, count=4)
    spread = trained(many)
    assert_close(spread, trained(one_device()), 1e-5)
    assert_same(trained(many, resident=False), spread)
