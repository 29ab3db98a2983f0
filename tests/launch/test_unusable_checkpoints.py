"""Checkpoints of a stopped run that are damaged, foreign or in use."""

import shutil

from launching import TINY, refused, snapshot

from launch.run.workdir import locked


def flip(folder):
    """Flips a bit in the largest file of a checkpoint."""
    file = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def steps_of(half, stage="student_alone"):
    return sorted((int(p.name) for p in (half / "checkpoints" / stage).iterdir()), reverse=True)


def test_damaged_checkpoint_gives_way_to_the_one_before(launch, half):
    newest, before = steps_of(half)
    flip(half / "checkpoints/student_alone" / str(newest))
    answer = launch(f"--workdir={half}", *TINY, "--config.seed=3")
    assert answer.code == 0 and answer.err == ""
    assert len([x for x in answer.out.splitlines() if f"checkpoint student_alone/{newest} is refused" in x]) == 1
    assert f"student_alone: resumed at step {before} of" in answer.out


def test_no_good_checkpoint_is_refused(launch, half):
    for step in steps_of(half):
        flip(half / "checkpoints/student_alone" / str(step))
    before = snapshot(half)
    refused(launch(f"--workdir={half}", *TINY, "--config.seed=3"), "no checkpoint in", "student_alone", "remove that folder")
    assert snapshot(half) == before


def test_two_runs_in_one_folder_are_refused(launch, half):
    before = snapshot(half)
    with locked(half):
        refused(launch(f"--workdir={half}", *TINY, "--config.seed=3"), f"--workdir={half} is in use by another run")
    assert snapshot(half) == before


def test_foreign_checkpoint_is_refused(launch, half, run):
    shutil.rmtree(half / "checkpoints/student_alone")
    shutil.copytree(run[0] / "checkpoints/student", half / "checkpoints/student_alone")
    answer = launch(f"--workdir={half}", *TINY, "--config.seed=3")
    refused(answer, "no checkpoint in")
    assert "it was written with " in answer.out
