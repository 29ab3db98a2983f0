"""Teacher outputs that are computed once, through the launcher, and the measure of what that saves."""

import json

import pytest
from launching import TINY, call

from configs import quickstart
from kdjax.core.files import read_lines
from kdjax.data import load
from kdjax.experiment.teacher_cache import teacher_cache
from kdjax.models import conv_net
from launch import benchmark
from launch.bench import cache as benchmark_cache
from launch.table.protocol import differences, protocol_of, words

SMALL = (*TINY, "--config.data.batch=256", "--config.data.augment=affine", "--config.labels_per_class=0")


@pytest.fixture(scope="module")
def twins(launch, tmp_path_factory):
    """Two runs of four epochs: without a cache, and with as many views as epochs, so that no view comes back."""
    folder = tmp_path_factory.mktemp("twins")
    words = {"asked": (), "kept": ("--config.cache.views=4", f"--config.cache.dir={folder / 'outputs'}")}
    return folder, {name: launch(f"--workdir={folder / name}", *SMALL, *more) for name, more in words.items()}


def read(folder, name="summary.json"):
    return json.loads((folder / name).read_text())


def test_with_as_many_views_as_epochs_kept_outputs_change_nothing(twins):
    folder, answers = twins
    assert [answers[name].code for name in ("asked", "kept")] == [0, 0]
    assert (
        "student: teacher outputs of 1,211 images in 4 views: " in answers["kept"].out
        and "teacher outputs" not in answers["asked"].out
    )
    asked, kept = (read_lines(folder / name / "metrics.jsonl") for name in ("asked", "kept"))
    assert [x["stage"] for x in asked] == [x["stage"] for x in kept]
    for line, wanted in zip(kept, asked, strict=True):
        assert line.keys() == wanted.keys() and line["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    a, b = (read(folder / name)["results"] for name in ("asked", "kept"))
    assert a.keys() == b.keys() and a["student/test_accuracy"]["values"] == pytest.approx(b["student/test_accuracy"]["values"])
    about = read(folder / "outputs", "manifest.json")["fingerprint"]
    assert {
        "teacher",
        "data",
        "rows",
        "augmentation_seed",
        "image_size",
        "crop",
        "split_seed",
        "net.mean",
        "net.std",
    } < about.keys()


def test_another_student_reads_them(launch, twins, tmp_path):
    words = ("--config.cache.views=4", f"--config.cache.dir={twins[0] / 'outputs'}", "--config.method.temperature=2")
    answer = launch(f"--workdir={tmp_path / 'other'}", *SMALL, *words)
    assert answer.code == 0 and f"student: teacher outputs read from {twins[0] / 'outputs'}" in answer.out


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ("data.augment=crop_flip", "they have augmentation=affine, this run has augmentation=crop_flip"),
        ("data.seed=1", "they have augmentation_seed=0, this run has augmentation_seed=1"),
        ("data.image_size=10", "they have data="),
        ("data.crop=6", "they have crop=0, this run has crop=6"),
        ("data.val_fraction=0", "they have rows=1211, this run has rows=1347"),
        ("precision=bfloat16", "they have net.dtype=float32, this run has net.dtype=bfloat16"),
        ("teacher_mean=0.5,", "they have net.mean="),
        ("cache.top=3", "they have top=0, this run has top=3"),
    ],
)
def test_a_run_for_which_they_are_not_is_refused_before_it_trains(launch, twins, tmp_path, changed, differs):
    outputs, more = twins[0] / "outputs", ("--config.teacher_std=0.5,",) if "teacher" in changed else ()
    words = (*SMALL, "--config.cache.views=4", f"--config.cache.dir={outputs}", f"--config.{changed}", *more)
    answer = launch(f"--workdir={tmp_path / 'run'}", *words)
    assert answer.code == 2 and answer.err.startswith(f"error: teacher outputs in {outputs} are refused: {differs}"), answer.err
    assert answer.err.count("\n") == 1 and answer.err.endswith("choose another --config.cache.dir or remove that folder\n")
    assert not (tmp_path / "run" / "models").exists()


def test_where_they_lie_is_no_part_of_a_run(launch, twins, tmp_path):
    answer = launch(
        f"--workdir={twins[0] / 'kept'}", *SMALL, "--config.cache.views=4", f"--config.cache.dir={tmp_path / 'elsewhere'}"
    )
    assert answer.code == 0 and "is finished" in answer.out
    answer = launch(f"--workdir={twins[0] / 'kept'}", *SMALL, "--config.cache.views=3")
    assert answer.code == 2 and "config.cache.views=4, this command has 3" in answer.err


def test_views_are_protocol_and_their_place_is_not(twins):
    asked, kept = ((read(twins[0] / name, "config.json"), read(twins[0] / name)) for name in ("asked", "kept"))
    assert {name for name, *_ in differences(protocol_of(*asked), protocol_of(*kept))} == {
        "cache.views", "cache.taps", "cache.dtype",
    }  # fmt: skip
    assert "teacher outputs computed once, in 4 views of every image" in words(*kept, ["student"])
    assert not any("teacher outputs" in phrase for phrase in words(*asked, ["student"]))
    before = {**asked[0], "config": {k: v for k, v in asked[0]["config"].items() if k != "cache"}}  # of a version without a cache
    assert list(differences(protocol_of(before, asked[1]), protocol_of(*asked))) == []
    small = {
        **kept[0],
        "config": {**kept[0]["config"], "cache": {"views": 1, "top": 3, "dtype": "float16", "taps": ["logits"], "dir": ""}},
    }
    assert "teacher outputs computed once, in 1 view of every image (the 3 largest logits, in float16)" in words(
        small, kept[1], ["student"]
    )


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("--config.cache.views=-1", "--config.cache.views=-1 is not accepted: expected a whole number, 0 or more"),
        ("--config.cache.views=2 --config.data.augment=none", "--config.cache.views=2 is not accepted without augmentation"),
        ("--config.cache.dir=x", "--config.cache.dir=x is not accepted with --config.cache.views=0: expected 1 view or more"),
        (
            "--config.cache.views=2 --config.cache.top=10",
            "--config.cache.top=10 is not accepted: expected 0 to 9, below the classes",
        ),
        (
            "--config.cache.views=2 --config.cache.dtype=int8",
            "--config.cache.dtype='int8' is not accepted: expected one of bfloat16, float16, float32",
        ),
        ("--config.cache.views=2 --config.cache.taps=()", "--config.cache.taps=() is not accepted: expected one name or more"),
        (
            "--config.cache.views=2 --config.cache.taps='stage9',",
            "taps=('stage9',) is not accepted: the teacher has no 'stage9', it has ",
        ),
        (
            "--config.cache.views=2 --config.seeds_share=none",
            "--config.cache.views=2 is not accepted with --config.seeds_share='none': every seed draws its own augmentation",
        ),
        (
            "--config.cache.views=2 --config=configs/quickstart.py:method=at",
            "--config.cache.taps=('logits',) is not accepted: the method asks for more of the teacher than is kept (",
        ),
    ],
)
def test_refusals(launch, tmp_path, more, line):
    answer = launch(f"--workdir={tmp_path / 'run'}", *SMALL, *more.split())
    assert answer.code == 2 and line in answer.err and len(answer.err.splitlines()) == 1, answer.err
    assert not (tmp_path / "run").exists()


def test_seeds_that_share_nothing_may_share_outputs_without_augmentation():
    config = quickstart.get_config()
    config.seeds_share, config.cache.views, config.cache.taps = "none", 1, ("logits", "pooled")
    stages = quickstart.build(config).stages
    assert stages["student"].teacher_cache.taps == ("logits", "pooled") and not stages["student"].teacher_cache.drawn
    assert stages["teacher"].teacher_cache is None and stages["student_alone"].teacher_cache is None


# --- launch/benchmark.py cache


QUICK = ("cache", "--source=digits", "--images=256", "--batch=64", "--teacher=conv_net", "--teacher-widths=4", "--student-widths=4",
         "--repeats=1", "--seconds=1")  # fmt: skip


def test_the_table(monkeypatch):
    found = [
        benchmark_cache.Saving("asked at every step", 0.1, [0.1]),
        benchmark_cache.Saving("logits", 0.025, [0.025], 12.0, 2_500_000, 3.25),
    ]
    asked = {}
    monkeypatch.setattr(benchmark_cache, "measure", lambda one, caches, folder, **options: asked.update(caches) or found)
    answer = call(benchmark, *QUICK, "--taps=pooled,stage1", "--views=2")
    assert answer.code == 0 and answer.err == ""
    head, *table = answer.out.splitlines()
    assert head.startswith("digits: 256 images, 8x8x1, crop_flip; conv_net (4,) teaches conv_net (4,); batch 64; 2 views; ")
    assert [" ".join(line.split()) for line in table] == [
        "| what is kept | a step | of the first line | the pass | on disk | pays after |",
        "| ------------------- | -------: | ----------------: | -------: | ------: | ---------: |",
        "| asked at every step | 100.0 ms | 1.00 | | | |",
        "| logits | 25.0 ms | 0.25 | 12.0 s | 2.5 MB | 3.2 epochs |",
    ]
    assert {way: (kept.taps, kept.top, kept.dtype, kept.views) for way, kept in asked.items()} == {
        "logits": (("logits",), 0, "float32", 2),
        "logits, float16": (("logits",), 0, "float16", 2),
        "3 largest logits": (("logits",), 3, "float32", 2),
        "logits, pooled, stage1": (("logits", "pooled", "stage1"), 0, "float32", 2),
    }


def test_a_line_of_json_for_each_way():
    lines = [json.loads(line) for line in call(benchmark, *QUICK, "--augment=none", "--json").out.splitlines()]
    assert [line["way"] for line in lines][:2] == ["asked at every step", "logits"] and len(lines) == 4
    asked, kept = lines[:2]
    assert asked["pass_seconds"] == asked["bytes"] == 0 < kept["pass_seconds"] and kept["bytes"] > 256 * 40 and kept["views"] == 1
    saved = 4 * (asked["step_seconds"] - kept["step_seconds"])  # four steps an epoch
    assert kept["pays_after"] == pytest.approx(kept["pass_seconds"] / saved if saved > 0 else float("inf"))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ((), "expected --source=<source>"),
        (("--source=digits", "--views=0"), "--views='0' is not accepted: expected a whole number, 1 or more"),
        (("--source=digits", "--views=2", "--augment=none"), "--views=2 is not accepted without augmentation"),
        (("--source=digits", "--augment=flop"), "augmentation 'flop' is not known; accepted: "),
        (("--source=digits", "--top=10"), "--top=10 is not accepted: expected 0 to 9"),
        (("--source=digits", "--teacher=resnet9"), "--teacher: net 'resnet9' is not known; accepted: resnet"),
        (("--source=digits", "--images=10"), "batch=128 is not accepted: expected 1 to 10"),
        (("--source=digits", "--student-widths=a"), "--student-widths='a' is not accepted"),
    ],
)
def test_refusals_of_the_benchmark(more, line):
    answer = call(benchmark, "cache", *more)
    assert answer.code == 2 and answer.err.startswith(f"error: {line}") and answer.err.count("\n") == 1


def test_whether_images_were_turned_is_known_of_kept_outputs():
    config = quickstart.get_config()
    config.cache.views, config.data.augment = 1, "none"
    found = {
        on: teacher_cache(config, load("digits")._replace(exif_orientation=on), conv_net((4,)), {}).about for on in (False, True)
    }
    assert found[True] == {**found[False], "exif_orientation": True}
