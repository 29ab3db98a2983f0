"""Training with what the teacher gave once equals training that asks it in every step."""

import numpy as np
import pytest
from outputs import TEACHER, kept_in, metrics, student, trained, watching
from tiny import TRAIN, assert_close, assert_same, linear, run, sgd, stage, untrainable

from kdjax import augment, methods
from kdjax.core import Frozen, InputError, Net
from kdjax.data import epochs
from kdjax.train import Pace, feed, run_stages
from kdjax.train.devices import find_devices
from kdjax.train.stage import blank_batch
from kdjax.train.teacher_cache import compute
from kdjax.train.teacher_cache.compute import check_outputs
from kdjax.train.teacher_cache.spec import TeacherCache
from kdjax.train.teacher_cache.store import open_store, read_manifest


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("how", ["map", "vmap"])
def test_training_with_kept_outputs_is_training_with_so_many_views(tmp_path, resident, how):
    """The twin without a cache draws its augmentation in the same cycle."""
    cycle = epochs(TRAIN.size, 16)
    cycle = cycle._replace(epoch_of=lambda step: epochs(TRAIN.size, 16).epoch_of(step) % 2)
    options = {"resident": resident, "how": how}
    asked = trained(tmp_path / "asked", student(teacher_cache=None, sampler=cycle, members=2), **options)
    kept = trained(tmp_path / "kept", student(members=2), **options)
    assert_close(kept.weights["student"], asked.weights["student"], 1e-6)
    for line, wanted in zip(metrics(tmp_path / "kept"), metrics(tmp_path / "asked"), strict=True):
        np.testing.assert_allclose(line["loss"], wanted["loss"], rtol=1e-5)
        assert line["epoch"] == line["step"] // 2  # the cycle is not seen in the log
    endless = trained(tmp_path / "endless", student(teacher_cache=None, members=2), **options)
    assert np.abs(endless.weights["student"]["params"][0] - kept.weights["student"]["params"][0]).max() > 1e-4


def test_a_training_step_does_not_ask_the_teacher(tmp_path):
    def apply(params, stats, x, *, train, key=None):
        assert x.shape[0] != 16, "a batch of training"
        return linear().apply(params, stats, x, train=train)

    trained(tmp_path, student(methods.kd(linear(), linear()._replace(apply=apply), sgd())))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    ("parallel", "count", "keep_last"),
    [("jit", 1, False), ("jit", 2, False), ("shard_map", 2, False), ("pmap", 2, False), ("shard_map", 2, True), ("pmap", 2, True)],
)
def test_what_is_kept_is_what_the_teacher_gives_for_the_image_of_the_step(tmp_path, resident, parallel, count, keep_last):
    devices, sampler = find_devices(parallel, count=count), epochs(TRAIN.size, 16, keep_last=keep_last)
    one = student(watching(axis=devices.axis_name), unmapped=watching(), steps=8, sampler=sampler)
    trained(tmp_path, one, resident=resident, devices=devices)
    assert all(line["apart"][0] < 1e-6 for line in metrics(tmp_path)) and len(metrics(tmp_path)) == 4


def test_images_come_back_after_so_many_epochs(tmp_path):
    one = student(watching(), steps=12, pace=Pace(1, 4, 4), teacher_cache=TeacherCache(linear(), views=3))
    trained(tmp_path, one)
    seen = {}
    for line in metrics(tmp_path):
        for index, image in zip(line["index"][0], line["image"][0], strict=True):
            seen.setdefault((index, (line["step"] - 1) // 2 % 3), []).append(image)
    again = [images for images in seen.values() if len(images) > 1]
    assert len(again) > 10
    for images in again:
        np.testing.assert_allclose(images[0], images[1], atol=1e-6)
    views = [np.array([seen[i, view][0] for i in range(40) if all((i, v) in seen for v in range(3))]) for view in range(3)]
    assert all(
        np.abs(views[a] - views[b]).min(axis=(1, 2, 3)).max() > 0 and not np.array_equal(views[a], views[b])
        for a, b in ((0, 1), (1, 2))
    )


def test_several_taps_in_a_smaller_dtype(tmp_path):
    one = student(
        watching(("logits", "pooled")), teacher_cache=TeacherCache(linear(), views=2, taps=("logits", "pooled"), dtype="bfloat16")
    )
    trained(tmp_path, one, resident=False)
    assert all(0 < line["apart"][0] < 0.02 for line in metrics(tmp_path))


def test_members_with_orders_of_their_own_share_outputs_where_nothing_is_drawn(tmp_path):
    for resident in (True, False):
        one = student(watching(), members=2, augment=augment.per_image(), teacher_cache=TeacherCache(linear(), drawn=False))
        trained(tmp_path / str(resident), one, share="none", resident=resident)
        lines = metrics(tmp_path / str(resident))
        assert all(max(line["apart"]) < 1e-6 for line in lines)
        assert lines[0]["index"][0] != lines[0]["index"][1]


def test_a_single_member_draws_from_its_own_key(tmp_path):
    trained(tmp_path, student(watching()), share="none")
    assert all(line["apart"][0] < 1e-6 for line in metrics(tmp_path))


def test_a_kept_teacher_is_another_result(tmp_path):
    trained(tmp_path, student())
    for other in (
        student(teacher_cache=None),
        student(teacher_cache=TeacherCache(linear(), views=3)),
        student(teacher_cache=TeacherCache(linear(), views=2, dtype="float16")),
    ):
        with pytest.raises(InputError, match=r"no checkpoint in .*student can be used"):
            trained(tmp_path, other)


def test_batches_are_as_large_as_the_outputs_in_them(tmp_path, monkeypatch):
    whole = run(tmp_path, resident=False)
    trained(tmp_path, student(watching(("pooled",)), teacher_cache=kept_in(tmp_path / "kept", taps=("pooled",))), resident=False)
    kept = open_store(tmp_path / "kept", read_manifest(tmp_path / "kept"))
    one = student(pace=Pace(64, 64, 64))
    assert kept.row_bytes == 16 * 4  # beside 24 bytes of image, label and index
    monkeypatch.setattr(feed, "CHUNK_BYTES", 16 * (24 + 64) * 8)
    assert (feed.chunk_of(one, whole, False), feed.chunk_of(one, whole, False, kept)) == (16, 8)


def test_a_blank_batch_holds_the_teacher_s_taps():
    found = blank_batch(
        student(teacher_cache=TeacherCache(linear(), taps=("logits", "pooled"), top=2, classes=3, dtype="float16"))
    )["teacher"]
    assert {name: (x.shape, x.dtype.name) for name, x in found.items()} == {
        "logits": ((16, 3), "float32"),
        "pooled": ((16, 16), "float32"),
    }


def test_streaming_is_resident_bit_for_bit_also_from_processes(tmp_path):
    whole = trained(tmp_path / "whole", student(members=2))
    for workers in (0, 1):
        ahead = trained(tmp_path / str(workers), student(members=2), resident=False, workers=workers)
        assert_same(ahead.weights["student"], whole.weights["student"])
        assert metrics(tmp_path / str(workers)) == metrics(tmp_path / "whole")


def test_outputs_that_are_not_finite_are_refused(tmp_path):
    large = Frozen([1e6 * x for x in TEACHER.params], {}, "large")
    one = student(given=lambda _: {"teacher": large}, teacher_cache=kept_in(tmp_path / "kept", dtype="float16"))
    with pytest.raises(InputError, match=r"refused: logits of row \d+ is not finite as float16; expected finite numbers"):
        trained(tmp_path, one)
    assert read_manifest(tmp_path / "kept").done == 0


def test_a_folder_that_cannot_be_written_or_holds_something_else_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder, line in (
        (tmp_path / "file" / "kept", "file/kept of teacher outputs cannot be written .*; choose another --config.cache.dir"),
        (tmp_path / "file", "is a file: expected a folder of teacher outputs"),
        (tmp_path, "holds 'file' and no teacher outputs"),
    ):
        with pytest.raises(InputError, match=line):
            trained(tmp_path / "run", student(teacher_cache=kept_in(folder)))


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compute, "append", full)
    with pytest.raises(InputError, match=r"of teacher outputs cannot be written \(No space left on device\); choose another"):
        trained(tmp_path, student())


def test_members_that_draw_for_themselves_share_no_outputs(tmp_path):
    line = "stage 'student', teacher_cache: not accepted with seeds_share='none': every member draws its own augmentation"
    with pytest.raises(InputError, match=line):
        run_stages({"teacher": untrainable(stage()), "student": student(members=2)}, run(tmp_path, share="none"))
    check_outputs("student", student(members=2, teacher_cache=TeacherCache(linear(), drawn=False)), run(tmp_path, share="none"))


def test_a_stage_without_teacher_or_images_is_refused(tmp_path):
    data_free = Net(linear().init, linear().apply)
    for one in (
        student(methods.supervised(linear(), sgd()), given=lambda _: {}),
        student(source=None, teacher_cache=TeacherCache(data_free)),
    ):
        with pytest.raises(InputError, match="is not accepted with a teacher_cache: it needs a source of images and a teacher"):
            trained(tmp_path, one)
    with pytest.raises(InputError, match="stage 'student', teacher_cache: views=0 is not accepted"):
        trained(tmp_path, student(teacher_cache=TeacherCache(linear(), views=0)))
