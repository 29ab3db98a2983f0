"""launch/benchmark.py, and what it refuses."""

import json
import subprocess
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from launching import call

from kdjax.data import epochs, load
from launch import benchmark
from launch.bench.augment import policies
from launch.bench.readers import measure, ways

ROOT = Path(__file__).parents[2]


def test_every_way_reads_the_same_batches():
    data = load("digits", reader="streaming")
    whole = data.train.read(np.arange(data.train.size))
    found = ways(data, 32, threads=[0, 2], workers=[1])
    assert list(found) == [
        "NumPy arrays, indexed",
        "in memory, Source.read",
        "on the device, cut inside jit",
        "streaming, 0 threads",
        "streaming, 2 threads",
        "streaming, 1 worker",
    ]
    for start in found.values():
        with closing(start()) as batches:
            for i, batch in enumerate(islice(batches, 3)):
                images, labels = batch if isinstance(batch, tuple) else (batch["image"], batch["label"])
                rows = epochs(data.train.size, 32).rows(0, i)
                np.testing.assert_array_equal(images, whole["image"][rows])
                np.testing.assert_array_equal(labels, whole["label"][rows])


def test_threads_and_workers_are_passed_on(monkeypatch):
    data, used = load("digits", reader="streaming"), []
    found = ways(data, 32, threads=[0, 2], workers=[3])
    monkeypatch.setattr("launch.bench.readers.stream", lambda read, start, stop, **options: used.append(options))
    for name, start in found.items():
        if name.startswith("streaming"):
            start()
    assert used == [{"threads": 0}, {"threads": 2}, {"workers": 3}]


def test_only_as_much_is_held_as_allowed(monkeypatch):
    monkeypatch.setattr("launch.bench.readers.HELD", 64 * 40)
    data = load("digits", reader="streaming")
    with closing(ways(data, 32, [], [])["in memory, Source.read"]()) as batches:
        index = np.concatenate([next(batches)["index"] for _ in range(4)])
    assert index.max() < 40 and len(set(index.tolist())) == 40


def test_speed_is_images_over_time(monkeypatch):
    clock = iter(np.arange(0, 1000, 0.5).tolist())
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    found = measure("x", lambda: (None for _ in range(1000)), batch=10, seconds=6)
    assert found.first_seconds == 0.5
    assert found.parts == [15.0] * 3 and found.images_per_second == 15.0  # 3 batches of 10 in 2 s


def test_table_and_lines():
    words = ["readers", "--source=digits", "--batch=16", "--seconds=0.03", "--threads=1", "--workers=0"]
    answer = call(benchmark, *words)
    assert answer.code == 0 and answer.err == ""
    head, *table = answer.out.splitlines()
    assert head.startswith("digits: 1,347 training images, 8x8x1; batch 16; ")
    assert len(table) == 2 + 4 and len({len(line) for line in table}) == 1
    assert [line.split("|")[1].strip() for line in table[2:]][-1] == "streaming, 1 thread"
    assert table[2].split("|")[3].strip() == "1"
    lines = [json.loads(line) for line in call(benchmark, *words, "--json").out.splitlines()]
    assert [line["reader"] for line in lines] == [line.split("|")[1].strip() for line in table[2:]]
    for line in lines:
        assert line["images_per_second"] == sorted(line["parts"])[1] > 0 and line["first_seconds"] > 0
        assert line["source"] == "digits" and line["shape"] == [8, 8, 1] and line["batch"] == 16


def test_as_a_program():
    words = ["readers", "--source=digits", "--seconds=0.03", "--threads=2", "--workers=1"]
    done = subprocess.run([sys.executable, "launch/benchmark.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "streaming, 1 worker " in done.stdout


def test_policies_are_timed_by_the_views_they_make():
    words = ["--shape=8,8,1", "--batch=4", "--repeats=1", "--policies=two views,multi-crop 2 + 6", "--json"]
    lines = [json.loads(line) for line in call(benchmark, "augment", *words).out.splitlines()]
    assert [line["policy"] for line in lines] == ["two views", "multi-crop 2 + 6"]
    assert [round(line["views_per_second"] / line["images_per_second"]) for line in lines] == [2, 8]


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_every_policy_makes_its_views(channels):
    batch = {"image": jax.ShapeDtypeStruct((2, 14, 14, channels), np.uint8)}
    keys = jax.random.split(jax.random.key(0), 2)
    found = {name: jax.eval_shape(policy, keys, batch) for name, policy in policies((14, 14, channels)).items()}
    sides = {name: [view.shape[1] for view in made["views"]] for name, made in found.items() if "views" in made}
    assert sides == {"two views": [14] * 2, "strong and weak": [14] * 2, "multi-crop 2 + 6": [14] * 2 + [6] * 6}


def test_help():
    assert "readers " in call(benchmark, "--help").out
    assert "--workers=<numbers>" in call(benchmark, "readers", "--help").out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "expected what to measure: readers"),
        (["reader"], "benchmark 'reader' is not known; accepted: readers"),
        (["readers"], "expected --source=<source>"),
        (["readers", "--source=digit"], "data source 'digit' is not known; accepted: digits"),
        (["readers", "--source=digits", "--batch=0"], "--batch='0' is not accepted: expected a whole number, 1 or more"),
        (["readers", "--source=digits", "--batch=1348"], "batch=1348 is not accepted: expected 1 to 1347"),
        (["readers", "--source=digits", "--seconds=nan"], "--seconds='nan' is not accepted"),
        (["readers", "--source=digits", "--seconds=-1"], "--seconds='-1' is not accepted: expected a number above 0"),
        (["readers", "--source=digits", "--workers=1,x"], "--workers='x' is not accepted: expected a whole number, 0 or more"),
        (["readers", "--source=digits", "--threads=-1"], "--threads='-1' is not accepted"),
        (["readers", "--source=digits", "--thread=1"], "unrecognized arguments: --thread=1"),
        (["augment", "--shape=2,2,1"], "--shape='2,2,1' is not accepted: expected height,width,channels, from 4,4,1"),
        (["augment", "--shape=8,8"], "--shape='8,8' is not accepted"),
        (["augment", "--policies=two"], "policy 'two' is not known; accepted: two views"),
        (["augment", "--repeats=0"], "--repeats='0' is not accepted"),
    ],
)
def test_refusals(words, line):
    answer = call(benchmark, *words)
    assert answer.code == 2 and answer.err.startswith(f"error: {line}") and answer.err.count("\n") == 1
