"""What the teacher gives is computed once, and training with it equals training without."""

import fcntl
import json
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import IMAGES, TRAIN, after, assert_close, assert_same, linear, noisy, run, sgd, stage, untrainable

from kdjax import augment, methods
from kdjax.core import Frozen, InputError, Net
from kdjax.data import epochs
from kdjax.train import Pace, Stopped, feed, fingerprint, run_stages
from kdjax.train.devices import find_devices
from kdjax.train.stage import blank_batch
from kdjax.train.teacher_cache import compute, store
from kdjax.train.teacher_cache.compute import check_outputs
from kdjax.train.teacher_cache.spec import TeacherCache
from kdjax.train.teacher_cache.store import open_store, read_manifest

TEACHER = Frozen(*linear().init(jax.random.key(5), jnp.zeros((1, 4, 4, 1))), "digest")


def student(method=None, **changed):
    """A stage with a teacher that is asked once, in two views."""
    fields = {"given": lambda _: {"teacher": TEACHER}, "teacher_cache": TeacherCache(linear(), views=2, classes=3)}
    return stage(method or methods.kd(linear(), linear(), sgd()), **(fields | changed))


def kept_in(folder, **changed):
    return TeacherCache(linear(), **({"views": 2, "classes": 3, "folder": str(folder)} | changed))


def metrics(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def trained(folder, one, said=None, **options):
    return run_stages({"student": one}, run(folder, said, **options))["student"]


def watching(taps=("logits",), axis=None):
    """A method that trains nothing: it shows how far what is kept is from what the teacher gives for the image, and the image."""
    method = methods.kd(linear(), linear(), sgd())

    def step(state, batch, key):
        wanted, _ = linear().apply(TEACHER.params, TEACHER.stats, batch["image"], train=False)
        assert set(batch["teacher"]) == set(taps) and all(x.dtype == jnp.float32 for x in batch["teacher"].values())
        apart = [jnp.max(jnp.abs(wanted[tap] - batch["teacher"][tap])) for tap in taps]
        shown = {"apart": jnp.max(jnp.stack(apart))}
        shown = (
            {"apart": jax.lax.pmax(shown["apart"], axis)} if axis else shown | {name: batch[name] for name in ("index", "image")}
        )
        return state._replace(step=state.step + 1), shown

    return method._replace(step=step)


# --- the same training


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


# --- written once, read again


def test_outputs_are_computed_once_and_shared_by_runs(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    said = []
    first = trained(tmp_path / "a", student(), said, cache=tmp_path / "cache")
    assert len(said) == 1 and "student: teacher outputs of 40 images in 2 views: " in said[0] and " MB in " in said[0]
    (folder,) = (tmp_path / "cache").glob("outputs-*")
    monkeypatch.setattr(compute, "append", untrainable)
    other = student(nets={"student": {"name": "another"}})
    again = trained(tmp_path / "b", other, said, cache=tmp_path / "cache")
    assert said[1] == f"student: teacher outputs read from {folder}"
    assert_same(again.weights["student"], first.weights["student"])
    trained(tmp_path / "b", untrainable(other), said, cache=tmp_path / "cache")  # finished: not even opened
    assert len(said) == 2


def test_each_has_a_folder_of_its_own_in_the_cache(tmp_path):
    (tmp_path / "cache").mkdir()
    two = find_devices(count=2)
    for i, (one, options) in enumerate(
        (
            (student(), {}),
            (student(teacher_cache=TeacherCache(linear(), views=3)), {}),
            (student(), {"data_seed": 2}),
            (student(given=lambda _: {"teacher": OTHER}), {}),
            (student(), {"devices": two}),  # other devices, other bits
        )
    ):
        trained(tmp_path / str(i), one, cache=tmp_path / "cache", **options)
        assert len(list((tmp_path / "cache").glob("outputs-*"))) == i + 1


def test_what_computes_otherwise_has_a_folder_of_its_own(tmp_path, monkeypatch):
    def where(**changed):
        return compute.folder_of(student(**changed), run(tmp_path), TEACHER, {})

    def other_net(params, stats, x, *, train, key=None):
        return linear().apply(params, stats, 2 * x, train=train)

    stages = (
        {},
        {"augment": augment.per_image()},
        {"source": TRAIN._replace(read=lambda rows: {**TRAIN.read(rows), "image": IMAGES[::-1][rows]})},
        {"teacher_cache": TeacherCache(linear()._replace(apply=other_net), views=2, classes=3)},
        {"teacher_cache": TeacherCache(linear(), views=2, classes=3, dtype="float16")},
    )
    found = [where(**changed) for changed in stages]
    labels = {"source": TRAIN._replace(read=lambda rows: {**TRAIN.read(rows), "label": np.zeros(len(rows), np.int32)})}
    same = ({}, labels, {"batch": 8}, {"method": methods.kd(linear(), linear(), sgd(0.2))})
    assert [where(**changed) for changed in same] == found[:1] * 4
    monkeypatch.setattr(fingerprint, "of_platform", lambda: {"jax": "another"})
    assert len({*found, where()}) == 6


def test_the_batch_is_no_part_of_what_is_kept(tmp_path):
    said = []
    trained(tmp_path / "a", student(teacher_cache=kept_in(tmp_path / "kept")), said)
    trained(tmp_path / "b", student(watching(), teacher_cache=kept_in(tmp_path / "kept"), batch=10), said)
    assert "read from" in said[1] and all(line["apart"][0] < 1e-6 for line in metrics(tmp_path / "b"))


OTHER = Frozen(TEACHER.params, TEACHER.stats, "another digest")


@pytest.mark.parametrize(
    ("changed", "options", "line"),
    [
        ({"given": lambda _: {"teacher": OTHER}}, {}, "they have teacher=digest, this run has teacher=another digest"),
        ({}, {"digest": "other images"}, "they have data=data, this run has data=other images"),
        ({}, {"data_seed": 7}, "they have augmentation_seed=1, this run has augmentation_seed=7"),
        ({}, {"share": "none"}, r"they have augmentation_seed=1, this run has augmentation_seed=\[1, 3\]"),
        ({"teacher_cache": {"views": 3}}, {}, "they have views=2, this run has views=3"),
        (
            {"teacher_cache": {"taps": ("pooled", "logits")}},
            {},
            r"they have taps=\['logits'\], this run has taps=\['pooled', 'logits'\]",
        ),
        ({"teacher_cache": {"top": 1}}, {}, "they have top=0, this run has top=1"),
        ({"teacher_cache": {"dtype": "float16"}}, {}, "they have dtype=float32, this run has dtype=float16"),
        ({"teacher_cache": {"about": {"crop": 8}}}, {}, "they have crop=4, this run has crop=8"),
        ({"teacher_cache": {"about": {"crop": 4, "net.std": [1]}}}, {}, r"they have net.std=nothing, this run has net.std=\[1\]"),
        ({"teacher_cache": {"about": {}}}, {}, "they have crop=4, this run has crop=nothing"),
        ({"teacher_cache": {"drawn": False, "views": 1}}, {}, "they have augmentation_seed=1, this run has augmentation_seed=None"),
    ],
)
def test_outputs_that_follow_from_anything_else_are_refused_by_its_name(tmp_path, changed, options, line):
    folder, base = tmp_path / "kept", {"about": {"crop": 4}}
    trained(tmp_path / "a", student(teacher_cache=kept_in(folder, **base)))
    other = student(**{**changed, "teacher_cache": kept_in(folder, **(base | changed.get("teacher_cache", {})))})
    with pytest.raises(InputError, match=f"^teacher outputs in {folder} are refused: {line}; choose another") as info:
        trained(tmp_path / "b", other, **options)
    assert "\n" not in str(info.value)
    trained(tmp_path / "c", student(teacher_cache=kept_in(folder, **base)))  # what is there stays


def test_a_folder_of_other_outputs_is_refused_before_anything_is_trained(tmp_path):
    folder = tmp_path / "kept"
    trained(tmp_path / "a", student(teacher_cache=kept_in(folder)))
    stages = {"teacher": untrainable(stage()), "student": student(teacher_cache=kept_in(folder, top=1))}
    with pytest.raises(InputError, match="they have top=0, this run has top=1"):
        run_stages(stages, run(tmp_path / "b"))


def test_other_rows_are_refused(tmp_path):
    folder = tmp_path / "kept"
    trained(tmp_path / "a", student(teacher_cache=kept_in(folder)))
    fewer = TRAIN._replace(size=30)
    with pytest.raises(InputError, match="they have rows=40, this run has rows=30"):
        trained(tmp_path / "b", student(teacher_cache=kept_in(folder), source=fewer))


@pytest.mark.parametrize(
    "changed",
    [
        {"augment": augment.per_image(lambda key, image: noisy(jax.random.fold_in(key, 1), image))},
        {"source": TRAIN._replace(read=lambda rows: {**TRAIN.read(rows), "image": IMAGES[::-1][rows]})},
        {"given": lambda _: {"teacher": Frozen([-x for x in TEACHER.params], TEACHER.stats, "digest")}},
    ],
)
def test_what_no_fingerprint_tells_shows_in_the_outputs(tmp_path, changed):
    folder = tmp_path / "kept"
    trained(tmp_path / "a", student(teacher_cache=kept_in(folder)))
    with pytest.raises(InputError, match=r"are refused: logits is up to .* off what the teacher gives now, where its largest is"):
        trained(tmp_path / "b", student(**changed, teacher_cache=kept_in(folder)))


def test_damaged_outputs_are_refused(tmp_path):
    folder = tmp_path / "kept"
    trained(tmp_path / "a", student(teacher_cache=kept_in(folder)))
    piece = next(p for p in (folder / "00" / "c").rglob("*") if p.is_file())
    content = bytearray(piece.read_bytes())
    content[100] ^= 1
    piece.write_bytes(content)
    for resident in (True, False):
        with pytest.raises(InputError, match=r"are damaged: logits .*; remove that folder"):
            trained(tmp_path / str(resident), student(teacher_cache=kept_in(folder)), resident=resident)


# --- killed and stopped


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


def test_a_second_run_waits_for_the_first(tmp_path, monkeypatch):
    folder, said = tmp_path / "kept", []
    folder.mkdir()
    original, free, early = compute._compute, threading.Event(), []

    def watched(*args):
        early.append(not free.is_set())
        return original(*args)

    monkeypatch.setattr(compute, "_compute", watched)
    with open(folder / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=trained, args=(tmp_path / "b", student(teacher_cache=kept_in(folder)), said))
        second.start()
        until = time.monotonic() + 60
        while not said and time.monotonic() < until:
            time.sleep(0.02)
        assert said == [f"student: waits for another run that computes the same teacher outputs in {folder}"]
        time.sleep(0.3)
        free.set()
    second.join(60)
    assert "teacher outputs of 40 images" in said[1] and early == [False]


# --- refusals


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
