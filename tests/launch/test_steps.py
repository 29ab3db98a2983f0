"""launch/benchmark.py steps: what it tells, and what it refuses."""

import importlib
import json

import numpy as np
import pytest
from launching import call, refused

from configs.settings.workloads import WORKLOADS
from launch import benchmark
from launch.bench import steps
from launch.bench.program import Program
from launch.bench.pytorch import VARIANTS
from launch.bench.rounds import Time, time_in_turns
from launch.bench.subject import Subject
from launch.run import cli

TINY = (
    "steps", "--config=configs/quickstart.py",
    "--images=4x4x1:3", "--rounds=2", "--seconds=0.01", "--block=2", "--config.devices=1",
    "--config.teacher_training.net.widths=(4,)", "--config.student_training.net.widths=(4,)", "--config.labels_per_class=0",
    "--config.data.augment=none", "--config.data.batch=8", "--config.seeds=1",
)  # fmt: skip
PROGRAM = Program(1.5, 1.25, 2 * 10**9, 3_000_000, 1_000_000, 6_644)


def test_a_line_for_each_beside_the_bare_step():
    answer = call(benchmark, *TINY, "--against=bare", "--json")
    assert answer.code == 0, answer
    ours, bare = (json.loads(line) for line in answer.out.splitlines())
    assert (ours["name"], bare["name"]) == ("quickstart", "quickstart, bare")
    assert ours["flops"] == bare["flops"] > 0  # the same work
    for row in (ours, bare):
        assert row["images_per_second"] == pytest.approx(8 / row["step_seconds"])
        assert row["step_seconds"] == pytest.approx(np.median(row["parts"])) and len(row["parts"]) == 2
        assert 0 < row["host"] <= 1 and row["sent_bytes"] == 0 and row["donated_bytes"] > 0 and row["compile_cpu_seconds"] > 0
    assert ours["of_first"] == 1


def test_once_for_each_method_value_and_stage():
    found = steps._spread([("quickstart", "configs/quickstart.py:student=resnet8", "", ("--x",), "")], Args("kd/dkd", "seeds=1,2"))
    assert [one[0] for one in found] == [f"quickstart, {m}, seeds={n}" for m in ("kd", "dkd") for n in (1, 2)]
    assert found[1][1].endswith("configs/quickstart.py:method=kd,student=resnet8")
    assert found[3][3] == ("--x", "--config.seeds=2")


def test_a_table_with_ratios_to_an_earlier_file(tmp_path):
    file = tmp_path / "before.jsonl"
    file.write_text(json.dumps({"name": "quickstart, data.batch=4", "step_seconds": 1.0}) + "\n")
    answer = call(benchmark, *TINY, "--stage=teacher", "--each=data.batch=4,8", f"--against={file}")
    assert answer.code == 0, answer
    about, head, _, small, large = ([word.strip() for word in line.split("|")] for line in answer.out.splitlines())
    assert about[0].startswith("blocks of 2 steps; 2 rounds; ")
    assert small[1] == "quickstart, data.batch=4" and small[head.index("of before")] and not large[head.index("of before")]


class Args:
    def __init__(self, methods, each):
        self.methods, self.each = methods, each


def test_numbers_of_a_row_and_the_table():
    times = {"a": Time([0.2, 0.4, 0.3], 0.1), "b": Time([0.1, 0.1, 0.3], 0.5), "": Time([0.5, 1.0, 1.0], 0.0)}
    subjects = {"a": Subject(lambda: None, 2, 64, PROGRAM), "b": Subject(lambda: None, 1, 64)}
    a, b = steps.told(subjects, times, {"b": {"step_seconds": 0.05}})
    assert (
        a["step_seconds"] == pytest.approx(0.15)
        and a["spread"] == pytest.approx(2 / 3)
        and a["images_per_second"] == pytest.approx(64 / 0.15)
    )
    assert b["of_first"] == pytest.approx(1.0)  # 0.1 to 0.1, 0.1 to 0.2, 0.3 to 0.15
    assert (
        a["of_peak"] == pytest.approx(2e9 / 0.15 / (2 * 2048**3 / 0.5)) and b["of_before"] == pytest.approx(2) and "flops" not in b
    )
    lines = [[word.strip() for word in line.split("|")[1:-1]] for line in steps.shown([a, b]).splitlines()]
    assert lines[0][:5] == ["steps of", "a step", "spread", "of the first", "of before"]
    assert lines[2][1:4] == ["150.0 ms", "67%", "1.00"] and lines[2][-3:] == ["6.6 kB", "1.5 s", "1.2 s"]
    assert lines[3][-3:] == ["", "", ""]


def test_all_take_turns():
    asked = []
    calls = {name: lambda name=name: asked.append(name) for name in ("a", "b")}
    found = time_in_turns(calls, rounds=3, seconds=1e-9)
    assert asked == ["a", "b"] * 4 and [len(x.parts) for x in found.values()] == [3, 3]


def test_a_file_that_holds_no_lines(tmp_path):
    file = tmp_path / "before.jsonl"
    file.write_text("{}\n")
    refused(call(benchmark, *TINY, f"--against={file}"), f"--against={file}", "expected lines that --json wrote")


def test_every_workload_is_a_config(tmp_path):
    for name, one in WORKLOADS.items():
        batch = cli.read_config(one.config, one.words)[1].data.batch
        made = steps._made(one.images, 2 * batch, batch, tmp_path)
        _, config = cli.read_config(one.config, (*one.words, f"--config.data.source=npz:{made}"))
        assert config.data.source.endswith(made.name), name


def test_without_pytorch_one_line_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    refused(
        call(benchmark, "steps", "--workloads=kd", "--against=torch"),
        "torch is not installed; it comes with: pip install 'kdjax[parity]'",
    )


@pytest.mark.parametrize("variant", VARIANTS[:1])
def test_pytorch_does_the_same_work(variant):
    pytest.importorskip("torch")
    from launch.bench.pytorch import peer_step

    subject = peer_step("kd", 2, variant, "resnet8", "resnet8x4")
    assert subject.call() is None and subject.images == 2


def test_help_names_the_workloads():
    assert all(name in call(benchmark, "steps", "--help").out for name in WORKLOADS)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "expected --workloads=<names> or --config=<file>"),
        (("--workloads=kdd",), "workload 'kdd' is not known; accepted: kd"),
        ((*TINY[1:], "--config.sedes=2"), "field --config.sedes is not known"),
        ((*TINY[1:], "--stage=techer"), "stage 'techer' is not known; accepted: teacher"),
        ((*TINY[1:], "--images=4x4:3"), "--images='4x4:3' is not accepted: expected <height>x<width>x<channels>:<classes>"),
        ((*TINY[1:], "--each=seeds"), "--each='seeds' is not accepted: expected <field>=<value>"),
        ((*TINY[1:], "--against=before.json"), "--against=before.json is not accepted: expected bare, torch, or a file"),
        ((*TINY[1:], "--against=bare", "--config.seeds=2"), "--against=bare is not accepted for stage 'student'"),
        ((*TINY[1:], "--variants=fast"), "variant 'fast' is not known; accepted: "),
        ((*TINY[1:], "--rounds=0"), "--rounds='0' is not accepted"),
        ((*TINY[1:], "--seconds=0"), "--seconds='0' is not accepted"),
        ((*TINY[1:], "--config.parallel=pmap"), "--config.parallel='pmap' is not accepted: expected jit, shard_map"),
    ],
)
def test_refusals(words, line):
    refused(call(benchmark, "steps", *words), line)
