import json
import os
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import assert_same, named

from kdjax.core import Frozen, InputError, Learner, split
from kdjax.train import Checkpoints
from kdjax.train.checkpoint import read_model
from kdjax.train.fingerprint import of_json


def state(shift=0.0):
    params = {"kernel": jnp.arange(6.0).reshape(2, 3) + shift, "half": jnp.arange(4, dtype=jnp.bfloat16) / 3, "list": [jnp.ones(2)]}
    learner = Learner(params, {}, (jnp.int32(7), jnp.float32(0.5)))
    return {"student": learner, "teacher": Frozen({"w": jnp.ones(3)}, {}, "digest"), "step": jnp.int32(4)}


def moving(shift=0.0):
    return split(state(shift))[0]


@pytest.fixture
def folder(tmp_path):
    """Three steps saved, of which the last two are kept."""
    checkpoints = Checkpoints(tmp_path / "student", named("one"))
    for step in (4, 8, 12):
        checkpoints.save(step, moving(step), {"note": [step, "x"]})
    checkpoints.close()
    return tmp_path / "student"


NOISE = {"noise": np.random.default_rng(0).standard_normal(20000).astype(np.float32)}


@pytest.fixture
def single(tmp_path):
    """Steps 8 and 12 of a State of one array, large enough for a file of its own."""
    checkpoints = Checkpoints(tmp_path / "student", named("one"))
    for step in (8, 12):
        checkpoints.save(step, {"noise": NOISE["noise"] + step}, {"note": step})
    checkpoints.close()
    return tmp_path / "student"


def opened(folder, stage=named("one"), **options):
    return Checkpoints(folder, stage, **options)


def refused(folder, step=12, template=None, stage=named("one")):
    """The one line a restore is refused with."""
    with pytest.raises(InputError) as info:
        opened(folder, stage).restore(step, moving() if template is None else template)
    line = str(info.value)
    assert "\n" not in line and f"checkpoint student/{step} is refused" in line
    return line


def data_files(folder, step):
    """The files that hold the arrays of a step, largest first."""
    files = [p for p in (folder / str(step) / "state").rglob("d/*") if p.is_file()]
    return sorted(files, key=lambda p: -p.stat().st_size)


def test_round_trip(folder):
    checkpoints = opened(folder)
    assert checkpoints.steps() == [12, 8]
    for step in (12, 8):
        found, notes = checkpoints.restore(step, moving())
        assert_same(found, moving(step))
        assert notes == {"note": [step, "x"]}


def test_without_a_template_nested_dicts(folder):
    found, _ = opened(folder, None).restore(12)
    assert set(found) == {"student", "step"} and set(found["student"]) == {"params", "opt"}
    np.testing.assert_array_equal(found["student"]["params"]["kernel"], np.arange(6.0).reshape(2, 3) + 12)
    assert found["student"]["params"]["half"].dtype == jnp.bfloat16
    assert found["student"]["opt"]["0"] == 7 and found["step"].shape == ()


def test_a_flipped_byte_is_refused(single):
    path = data_files(single, 12)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(single, template=NOISE)


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), Path.unlink])
def test_a_truncated_or_missing_file_is_refused(single, damage):
    damage(data_files(single, 12)[0])
    assert "its state cannot be read" in refused(single, template=NOISE)


def test_a_removed_manifest_is_refused(folder):
    (folder / "12" / "manifest" / "metadata").unlink()
    assert "its manifest cannot be read" in refused(folder)


@pytest.mark.parametrize("text", ["null", "[1]", "5", "{}", "[" * 100_000, '{"content": [], "sha256": 0}', "\udcff"])
def test_a_manifest_that_is_none_is_refused(folder, text):
    (folder / "12" / "manifest" / "metadata").write_text(text, errors="surrogateescape")
    refused(folder)


@pytest.mark.parametrize(
    "wrong",
    [{"stage": None}, {"notes": []}, {"leaves": {}}, {"leaves": [3]}, {"leaves": [{"dtype": "zz"}]}]
    + [{"leaves": [{"path": "x", "sha256": "0", "dtype": "int32", "shape": shape}]} for shape in (3, [-1], ["1"])],
)
def test_a_manifest_of_something_else_is_refused(folder, wrong):
    path = folder / "12" / "manifest" / "metadata"
    content = json.loads(path.read_text())["content"] | wrong
    content = {name: value for name, value in content.items() if value is not None}
    path.write_text(json.dumps({"content": content, "sha256": of_json(content)}))
    assert "its manifest is none of kdjax's" in refused(folder)


def test_a_nested_description_of_a_step_is_refused(folder):
    (folder / "12" / "_CHECKPOINT_METADATA").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"folder .*student of checkpoints cannot be read"):
        opened(folder)


def test_a_plain_file_is_refused(tmp_path):
    (tmp_path / "c").write_text("x")
    with pytest.raises(InputError, match="c is a file: expected a folder of checkpoints"):
        Checkpoints(tmp_path / "c", named("s"))


@pytest.fixture
def full():
    """Makes the disk full: no file may be larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 400, 20_000])
def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_stays(single, full, caplog, size):
    checkpoints = opened(single)
    full(size)
    with pytest.raises(InputError, match=r"student of checkpoints cannot be written \(.*; the same command goes on") as raised:
        try:
            checkpoints.save(16, {"noise": NOISE["noise"]}, {})
        finally:
            checkpoints.close()
    assert "\n" not in str(raised.value) and not caplog.records
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = opened(single)
    step, found, _ = again.newest(NOISE, print)
    assert step == 12 and sorted(os.listdir(single)) == ["12", "8"]
    assert_same(found, {"noise": NOISE["noise"] + 12})
    again.close()


def test_a_folder_that_was_deleted_is_one_line_and_is_not_made_again(single):
    checkpoints = opened(single)
    shutil.rmtree(single)
    with pytest.raises(InputError, match=r"student of checkpoints cannot be written \(No such file or directory\)"):
        checkpoints.save(16, NOISE, {})
    checkpoints.close()
    assert not single.exists()


def test_what_a_killed_run_was_writing_is_removed(single):
    (single / "16.orbax-checkpoint-tmp").mkdir()
    (single / "16").write_text("x")
    checkpoints = opened(single)
    assert checkpoints.newest(NOISE, print)[0] == 12 and sorted(os.listdir(single)) == ["12", "8"]
    checkpoints.close()


def test_changed_notes_are_refused(folder):
    path = folder / "12" / "manifest" / "metadata"
    path.write_text(path.read_text().replace('"x"', '"y"'))
    assert "manifest does not match its sha256" in refused(folder)


def test_arrays_that_are_not_those_of_the_manifest_are_refused(folder):
    """A whole file of another step: Orbax itself has nothing against it."""
    shutil.rmtree(folder / "12" / "state")
    shutil.copytree(folder / "8" / "state", folder / "12" / "state")
    assert "student/params/kernel does not match its sha256" in refused(folder)


def test_another_tree_is_refused(folder):
    kernel = {**moving()["student"].params, "kernel": jnp.zeros((2, 4))}
    assert "holds student/params/kernel float32[2, 3] where student/params/kernel float32[2, 4]" in refused(
        folder, template={**moving(), "student": moving()["student"].replace(params=kernel)}
    )
    half = {**moving()["student"].params, "half": jnp.zeros(4)}
    assert "half bfloat16[4] where student/params/half float32[4]" in refused(
        folder, template={**moving(), "student": moving()["student"].replace(params=half)}
    )
    assert "holds 6 arrays, 7 are expected" in refused(folder, template={**moving(), "zoo": jnp.zeros(1)})
    assert "where steps int32[] is expected" in refused(
        folder, template={"steps": jnp.int32(0), **{k: v for k, v in moving().items() if k != "step"}}
    )


def test_another_stage_is_refused(folder):
    assert "it was written with name=one, this run has two" in refused(folder, stage=named("two"))
    assert opened(folder, None).restore(12, moving())[1] == {"note": [12, "x"]}


def test_newest_falls_back_to_a_good_one_and_removes_the_bad(single):
    data_files(single, 12)[0].unlink()
    said, checkpoints = [], opened(single)
    step, found, notes = checkpoints.newest(NOISE, said.append)
    assert step == 8 and notes == {"note": 8} and len(said) == 1 and "student/12" in said[0]
    assert_same(found, {"noise": NOISE["noise"] + 8})
    checkpoints.close()
    assert opened(single).steps() == [8]


def test_newest_raises_where_none_is_good(folder, tmp_path):
    said = []
    with pytest.raises(InputError, match=r"no checkpoint in .*student can be used"):
        opened(folder, named("two")).newest(moving(), said.append)
    assert len(said) == 2
    assert Checkpoints(tmp_path / "empty", named("one")).newest(moving(), said.append) is None


def test_the_last_two_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", named("s"), best=True)
    for step, value in ((1, -30.0), (2, -9.0), (3, -9.0), (4, -10.0), (5, float("nan"))):
        checkpoints.save(step, {"x": jnp.float32(step)}, {}, value)
    checkpoints.save(6, {"x": jnp.float32(6)}, {})  # saved between evaluations
    assert checkpoints.best() == 3
    checkpoints.close()
    again = Checkpoints(tmp_path / "c", named("s"), best=True)
    assert again.steps() == [6, 5, 3] and again.best() == 3
    again.save(7, {"x": jnp.float32(7)}, {}, -8.0)
    assert again.best() == 7
    again.close()
    assert Checkpoints(tmp_path / "c", named("s"), best=True).steps() == [7, 6]


def test_the_best_one_follows_the_manifests_alone(tmp_path):
    """A score that is not what was written counts no more than other damage."""
    checkpoints = Checkpoints(tmp_path / "c", named("s"), best=True)
    for step, value in ((1, 30.0), (2, 20.0), (3, 10.0)):
        checkpoints.save(step, {"x": jnp.float32(step)}, {}, value)
    checkpoints.close()
    path = tmp_path / "c" / "3" / "manifest" / "metadata"
    path.write_text(path.read_text().replace("10.0", "99.0"))
    assert Checkpoints(tmp_path / "c", named("s"), best=True).best() == 1


def test_a_save_survives_the_donation_of_its_arrays(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", named("s"), keep=8)
    add = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    tree = {"a": jnp.zeros((300, 300)), "b": jnp.zeros(5, jnp.int32)}
    for step in range(8):
        checkpoints.save(step, tree, {})
        tree = add(tree)
    checkpoints.close()
    again = Checkpoints(tmp_path / "c", named("s"))
    for step in range(8):
        found, _ = again.restore(step, tree)
        assert np.all(found["a"] == step) and np.all(found["b"] == step)


def test_read_model_gives_empty_stats_back_and_networks_alone(tmp_path):
    saved = Checkpoints(tmp_path / "m", named("s"))
    weights = {
        "network": {"params": {"w": np.ones((2, 3), np.float32)}, "stats": {}},
        "samples": np.zeros((1, 2, 2, 1), np.float32),
    }
    saved.save(0, weights, {"nets": {"network": {"name": "conv_net"}}, "nan": float("nan")})
    saved.close()
    found, notes = read_model(tmp_path / "m", named("s"))
    assert_same(found, {"network": weights["network"]})
    assert notes["nets"] == {"network": {"name": "conv_net"}} and np.isnan(notes["nan"])
    with pytest.raises(InputError, match="it was written with name=s, this run has t"):
        read_model(tmp_path / "m", named("t"))


def test_the_manifest_can_be_read_by_a_person(folder):
    content = json.loads((folder / "12" / "manifest" / "metadata").read_text())["content"]
    assert content["stage"] == named("one").written() and content["step"] == 12
    kernel = next(x for x in content["leaves"] if x["path"] == "student/params/kernel")
    assert kernel["shape"] == [2, 3] and kernel["dtype"] == "float32" and len(kernel["sha256"]) == 64
