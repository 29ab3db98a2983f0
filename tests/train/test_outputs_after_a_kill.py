"""Outputs of a teacher whose computation was killed or stopped are gone on with, and load as if nothing had happened."""

import shutil

import jax
import numpy as np
import pytest
from outputs import kept_in, metrics, student, trained
from tiny import TRAIN, after, assert_same, noisy

from kdjax import augment
from kdjax.core import InputError
from kdjax.train import Stopped
from kdjax.train.teacher_cache import store
from kdjax.train.teacher_cache.store import open_store, read_manifest


class Killed(BaseException):
    pass


@pytest.fixture
def few(monkeypatch):
    """Blocks of eight rows: five of them, which no batch of 16 fits."""
    monkeypatch.setattr(store, "BLOCK_BYTES", 8 * 2 * 12)


def everything(folder):
    return open_store(folder, read_manifest(folder)).everything()["logits"]


@pytest.mark.parametrize("manifests", range(6))
@pytest.mark.parametrize("before", [True, False])
def test_a_kill_anywhere_leaves_nothing_that_loads_wrongly(tmp_path, few, monkeypatch, manifests, before):
    """Killed before or after the manifest of some block is written; the first one counts no rows."""
    trained(tmp_path / "whole", student(teacher_cache=kept_in(tmp_path / "a")))
    write, left = store._write, [manifests]

    def kill(folder, manifest):
        left[0] -= 1
        if left[0] < 0 and before:
            raise Killed
        write(folder, manifest)
        if left[0] < 0:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(store, "_write", kill)
        with pytest.raises(Killed):
            trained(tmp_path / "killed", student(teacher_cache=kept_in(tmp_path / "b")))
    done = max(0, manifests - before) * 8
    found = read_manifest(tmp_path / "b")
    assert found is None if manifests == 0 and before else found.done == done
    said, asked = [], []
    again = student(teacher_cache=kept_in(tmp_path / "b"), source=counted(asked))
    result = trained(tmp_path / "killed", again, said, resident=False)
    if done < 40:
        assert ("are there, the others are computed" in said[0]) == (done > 0)
        assert asked[int(done > 0)][0] == done  # behind the rows that are compared, where some are there
    else:
        assert "read from" in said[0]
    np.testing.assert_array_equal(everything(tmp_path / "b"), everything(tmp_path / "a"))
    assert_same(
        result.weights["student"], trained(tmp_path / "whole", student(teacher_cache=kept_in(tmp_path / "a"))).weights["student"]
    )


def counted(asked):
    def read(rows):
        if len(rows) == 16 and rows.any():  # a batch, and not one that only its shape is asked of
            asked.append(rows.tolist())
        return TRAIN.read(rows)

    return TRAIN._replace(read=read)


def test_a_run_that_is_asked_to_stop_stops_between_two_blocks_and_goes_on(tmp_path, few):
    one, said = student(teacher_cache=kept_in(tmp_path / "kept")), []
    line = "stopped by a signal; student: teacher outputs of 16 of 40 images are kept: the same command goes on"
    with pytest.raises(Stopped, match=line):
        trained(tmp_path / "run", one, stop=after(2))
    assert read_manifest(tmp_path / "kept").done == 16
    result = trained(tmp_path / "run", one, said)
    assert said[0] == "student: teacher outputs of 16 of 40 images are there, the others are computed"
    assert_same(result.weights["student"], trained(tmp_path / "whole", student()).weights["student"])


def test_what_was_begun_for_another_teacher_is_refused(tmp_path, few):
    with pytest.raises(Stopped):
        trained(tmp_path / "a", student(teacher_cache=kept_in(tmp_path / "kept")), stop=after(1))
    with pytest.raises(InputError, match="they have views=2, this run has views=1"):
        trained(tmp_path / "b", student(teacher_cache=kept_in(tmp_path / "kept", views=1)))


def test_what_was_begun_with_another_augmentation_is_not_gone_on_with(tmp_path, few):
    with pytest.raises(Stopped):
        trained(tmp_path / "a", student(teacher_cache=kept_in(tmp_path / "kept")), stop=after(1))
    other = augment.per_image(lambda key, image: noisy(jax.random.fold_in(key, 1), image))
    with pytest.raises(InputError, match=r"are refused: logits is up to .* off what the teacher gives now"):
        trained(tmp_path / "b", student(augment=other, teacher_cache=kept_in(tmp_path / "kept")))
    assert read_manifest(tmp_path / "kept").done == 8


@pytest.mark.parametrize("resident", [True, False])
def test_a_resumed_run_with_kept_outputs_ends_with_the_same_bits(tmp_path, resident):
    whole = trained(tmp_path / "whole", student(members=2, steps=11), resident=resident)
    with pytest.raises(Stopped):
        trained(tmp_path / "pieces", student(members=2, steps=11), resident=resident, stop=after(2))
    pieces = trained(tmp_path / "pieces", student(members=2, steps=11), resident=resident)
    assert_same(pieces.weights["student"], whole.weights["student"])
    assert metrics(tmp_path / "pieces") == metrics(tmp_path / "whole")


def test_what_is_trained_to_its_end_needs_no_outputs_any_more(tmp_path):
    whole = trained(tmp_path, student())
    shutil.rmtree(tmp_path / "models" / "student")
    (folder,) = tmp_path.glob("outputs-*")
    shutil.rmtree(folder)
    assert_same(trained(tmp_path, student()).weights["student"], whole.weights["student"])
    assert not folder.exists()
