"""Orbax checkpoints by others: which part of which tree is read."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import struct
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kdjax.core import InputError
from kdjax.train.orbax_tree import read_orbax

PARAMS = {"conv": {"kernel": np.arange(16, dtype=np.float32).reshape(8, 2)}}
STATS = {"conv": {"mean": np.array([1, 2], np.float16)}}
FOUND = {"params/conv/kernel": PARAMS["conv"]["kernel"], "stats/batch_stats/conv/mean": STATS["conv"]["mean"]}
REST = {"step": 3, "opt_state": [np.ones(2), {"params": np.zeros(1)}, None]}


class TrainState(struct.PyTreeNode):
    """As training scripts keep it."""

    params: dict
    batch_stats: dict


def save(place, tree):
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(place, tree)
    return place


def assert_found(found, expected=FOUND):
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert type(found[name]) is np.ndarray and found[name].dtype == x.dtype
        np.testing.assert_array_equal(found[name], x)


@pytest.mark.parametrize(
    "tree",
    [
        {"params": PARAMS, "batch_stats": STATS, **REST},
        {"params": PARAMS, "stats": {"batch_stats": STATS}},
        {"params": {"params": PARAMS, "batch_stats": STATS}, **REST},
        {"opt": {"ema": {"params": {"x": np.zeros(3)}}}, "model": {"params": PARAMS, "batch_stats": STATS}},
        TrainState(PARAMS, STATS),
    ],
    ids=["batch_stats", "stats", "variables", "nearest the root", "train state"],
)
def test_parameters_and_statistics_of_a_tree(tree, tmp_path):
    assert_found(read_orbax(save(tmp_path / "saved", tree)))


def test_parameters_alone(tmp_path):
    assert_found(read_orbax(save(tmp_path / "saved", PARAMS)), {"params/conv/kernel": PARAMS["conv"]["kernel"]})


def test_arrays_of_many_devices_are_read_by_one(tmp_path):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    kernel = jax.device_put(jnp.asarray(PARAMS["conv"]["kernel"], jnp.bfloat16), NamedSharding(mesh, PartitionSpec("data")))
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "saved", {"params": {"conv": {"kernel": kernel}}, "batch_stats": STATS})
    assert_found(read_orbax(tmp_path / "saved"), FOUND | {"params/conv/kernel": np.asarray(kernel)})


def test_the_last_step_of_a_manager(tmp_path):
    with ocp.CheckpointManager(tmp_path / "plain") as manager:
        for step, scale in ((2, 7), (12, 1)):
            tree = {"params": jax.tree.map(lambda x, k=scale: k * x, PARAMS), "batch_stats": STATS}
            manager.save(step, args=ocp.args.StandardSave(tree))
    assert_found(read_orbax(tmp_path / "plain"))
    with ocp.CheckpointManager(tmp_path / "items", item_names=("params", "batch_stats", "rest")) as manager:
        items = {"params": PARAMS, "batch_stats": STATS, "rest": {"step": 3}}
        manager.save(5, args=ocp.args.Composite(**{k: ocp.args.StandardSave(x) for k, x in items.items()}))
    assert_found(read_orbax(tmp_path / "items"))
    assert_found(read_orbax(tmp_path / "items" / "5"))


def test_arrays_that_no_file_holds_are_not_made(tmp_path):
    place = tmp_path / "saved"
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as writer:
        writer.save(place, {"params": PARAMS})
    (file,) = place.rglob(".zarray")
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"shape": [10**6, 10**6], "fill_value": 0.0}))
    with pytest.raises(InputError, match=r"saved is refused: it claims 3\.6 TiB of arrays, and there are .* on disk"):
        read_orbax(place)


def test_what_is_no_checkpoint(tmp_path):
    assert read_orbax(tmp_path) is None
    (tmp_path / "7").mkdir()
    assert read_orbax(tmp_path) is None
    (tmp_path / "7" / "manifest").mkdir()
    with pytest.raises(InputError, match=f"{tmp_path} is refused: it lies inside a run's folder"):
        read_orbax(tmp_path)


def test_damage_and_trees_without_parameters_are_one_line(tmp_path):
    place = save(tmp_path / "saved", {"params": PARAMS})
    (place / "_METADATA").write_text("{")
    with pytest.raises(InputError, match=f"{place} is refused: it cannot be read as an Orbax checkpoint") as info:
        read_orbax(place)
    assert "\n" not in str(info.value)
    for file in [p for p in save(tmp_path / "other", {"params": PARAMS}).rglob("*") if p.is_file() and p.parent.name == "d"]:
        file.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as an Orbax checkpoint"):
        read_orbax(tmp_path / "other")
    with ocp.CheckpointManager(tmp_path / "items", item_names=("a", "b")) as manager:
        manager.save(5, args=ocp.args.Composite(a=ocp.args.StandardSave(STATS), b=ocp.args.StandardSave(STATS)))
    with pytest.raises(InputError, match=r"none of its trees \(a, b\) holds params"):
        read_orbax(tmp_path / "items")
