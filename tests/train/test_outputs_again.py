"""What the teacher gives is computed once: written, read again by other runs, refused where it is of something else."""

import fcntl
import threading
import time

import jax
import numpy as np
import pytest
from outputs import TEACHER, kept_in, metrics, student, trained, watching
from tiny import IMAGES, TRAIN, assert_same, linear, noisy, run, sgd, stage, untrainable

from kdjax import augment, methods
from kdjax.core import Frozen, InputError
from kdjax.train import fingerprint, run_stages
from kdjax.train.devices import find_devices
from kdjax.train.teacher_cache import compute
from kdjax.train.teacher_cache.spec import TeacherCache


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
