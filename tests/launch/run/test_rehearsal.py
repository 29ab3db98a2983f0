"""What is refused before anything is trained: points of a sweep, and what no memory holds."""

import pytest
from launching import TINY

from kdjax.core import InputError, memory
from kdjax.train.devices import one_device
from launch.run import cli, rehearsal

REFUSED = {
    "a point below 0": (
        "--config.sweep=temperature=-1,2",
        "the point temperature=-1 of a sweep is refused: temperature=-1.0 is not",
    ),
    "the last of many": (
        "--config.sweep=temperature=2,4,0",
        "the point temperature=0 of a sweep is refused: temperature=0.0 is not",
    ),
    "a point of two": (
        "--config.sweep=weight=0,1 temperature=1,2 --config.method.label_weight=0",
        "the point weight=0, temperature=1 of a sweep is refused: the weights of cross_entropy, distillation are all 0",
    ),
    "no number": ("--config.sweep=temperature=nan,2", "--config.sweep='temperature=nan,2' is not accepted at 'temperature=nan,2'"),
    "without end": ("--config.sweep=temperature=1e999", "temperature=(inf,) is not accepted: expected one finite number of single"),
    "a sign of Python's": ("--config.sweep=temperature=1_0", "is not accepted at 'temperature=1_0'"),
    "a name twice": ("--config.sweep=weight=1 weight=2", "at 'weight=2': expected every name once, and every number of it once"),
    "a number twice": ("--config.sweep=weight=1,2,1.0", "at 'weight=1,2,1.0': expected every name once, and every number"),
    "a weight": ("--config.sweep=weight=1,-2", "--config.sweep='weight=1,-2': weight=-2.0 is not accepted: expected a number, 0"),
    "a rate": ("--config.sweep=learning_rate=1,0", "learning_rate=0.0 is not accepted: expected a number above 0"),
    "a rate of the baseline twice": ("--config.baseline_rates=(0.1,0.1)", "expected numbers above 0, each once, or () for none"),
    "too wide": ("--config.student_training.net.widths=(1000000000,)", "widths=1000000000 is not accepted in a net"),
    "too wide for two": (
        "--config.student_training.net.widths=(1000000,1000000)",
        "stage 'student_alone': 2 networks with optimiser, 130 TiB each, would take 261 TiB of memory",
    ),
    "too many seeds": ("--config.seeds=100000000", "stage 'student_alone': 100,000,000 networks with optimiser, "),
}


@pytest.mark.parametrize("row", REFUSED)
def test_it_is_refused_before_the_teacher_is_trained(row, launch, tmp_path):
    words, said = REFUSED[row]
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY, *words.replace(" --", "\0--").split("\0"))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err and answer.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def stages(*words):
    module, config = cli.read_config("configs/quickstart.py", (*TINY, *words))
    return module.build(config).stages


def test_an_array_that_no_memory_holds(monkeypatch):
    monkeypatch.setattr(memory, "memory_available", lambda: 2**20)
    monkeypatch.setattr(rehearsal, "ARRAY", 0)
    said = r"an array of shape \(64, 8, 8, 300\) in a step of stage 'teacher' would take 4.7 MiB of memory, 1.0 MiB are free here"
    with pytest.raises(InputError, match=said):
        rehearsal.rehearse(stages("--config.teacher_training.net.widths=(300,)"), one_device())


def test_many_networks_are_told(monkeypatch):
    monkeypatch.setattr(rehearsal, "MANY", 2)
    told = rehearsal.rehearse(stages(), one_device())
    assert [line.partition(":")[0] for line in told] == ["student_alone", "student"]
    assert told[0].startswith("student_alone: 2 networks, ") and told[0].endswith(
        "memory, and 72 steps of each: this may take long"
    )
