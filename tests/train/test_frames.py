"""Images of the same latents at every evaluation: a killed run ends with those of one that was not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import after, run, stage, untrainable

from kdjax.core import InputError
from kdjax.train import Pace, Stopped, frames, run_stages


def look(state, key):
    """Three images that tell the step and the key."""
    shade = (state.step / 16 + jax.random.uniform(key) / 1000).astype(jnp.float32)
    return jnp.broadcast_to(shade, (3, 2, 2, 1))


def seen(step):
    return np.full((3, 2, 2, 1), np.round(255 * (step / 16 + float(jax.random.uniform(jax.random.key(1))) / 1000)), np.uint8)


def test_each_evaluation_leaves_a_row_and_the_finished_stage_holds_them(tmp_path):
    one = {"only": stage(frames=look, members=2)}
    found = run_stages(one, run(tmp_path))["only"].frames
    assert found["steps"].tolist() == [4, 8, 12]
    np.testing.assert_array_equal(found["images"], np.stack([seen(step) for step in (4, 8, 12)]))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["only"]
    again = run_stages({"only": untrainable(one["only"])}, run(tmp_path))["only"].frames
    jax.tree.map(np.testing.assert_array_equal, again, found)


def test_a_stage_that_is_measured_again_keeps_its_images(tmp_path):
    said, one = [], stage(frames=look)
    found = run_stages({"only": one}, run(tmp_path))["only"].frames
    again = run_stages({"only": one._replace(evaluate=lambda *asked: {"accuracy": np.ones(1)})}, run(tmp_path, said))["only"]
    assert "measured again" in said[0] and again.measures["test_accuracy"] == [1.0]
    jax.tree.map(np.testing.assert_array_equal, again.frames, found)


def test_a_resumed_run_and_one_that_finds_the_stage_in_the_cache_have_the_same(tmp_path):
    (tmp_path / "cache").mkdir()
    one, other = {"only": stage(frames=look)}, {"only": stage(frames=look, pace=Pace(2, 2, 4))}
    whole = run_stages(other, run(tmp_path / "whole", cache=tmp_path / "cache"))["only"].frames
    shared = run_stages(other, run(tmp_path / "shared", cache=tmp_path / "cache"))["only"].frames
    jax.tree.map(np.testing.assert_array_equal, shared, whole)
    place = tmp_path / "pieces"
    with pytest.raises(Stopped):
        run_stages(one, run(place, stop=after(5)))
    left = place / "checkpoints" / "only.frames"
    assert sorted(p.name for p in left.iterdir()) == ["000000004.npy", "000000008.npy"]
    (left / "000000012.npy").write_bytes((left / "000000008.npy").read_bytes())  # of steps that are done again
    (left / "000000004.npy").write_bytes(b"torn")
    found = run_stages(one, run(place))["only"].frames
    assert found["steps"].tolist() == [8, 12]
    np.testing.assert_array_equal(found["images"], np.stack([seen(8), seen(12)]))


def test_of_many_evaluations_ten_are_shown_evenly_and_the_last():
    long = stage(steps=1000, pace=Pace(1, 8, 8))  # 125 evaluations
    shown = [step for step in [*range(8, 1000, 8), 1000] if frames.is_shown(long, step)]
    assert len(shown) == 10 and shown[-1] == 1000 and set(np.diff(shown)) <= {96, 104}
    short = stage(steps=10, pace=Pace(1, 4, 4))
    assert all(frames.is_shown(short, step) for step in (4, 8, 10))


def test_later_ones_are_cut_and_what_is_no_number_is_black(tmp_path):
    folder = tmp_path / "frames"
    for step in (2, 4, 6):
        frames.add(folder, step, np.array([np.nan, 0.5, 9.0]).reshape(3, 1, 1, 1))
    frames.cut(folder, 4)
    found = frames.read(folder)
    assert found["steps"].tolist() == [2, 4] and found["images"][0].ravel().tolist() == [0, 128, 255]
    assert frames.read(tmp_path / "none") is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^folder .*gone/frames of images cannot be written \(No such file or directory\)$"):
        frames.add(tmp_path / "gone" / "frames", 1, np.zeros((1, 1, 1, 1)))
