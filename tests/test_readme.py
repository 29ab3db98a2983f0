"""README.md and the guides beside the code say nothing that does not run: their Python in full, their commands made small."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdjax import methods, models
from launch import analyse, pack, predict, report, sample
from launch import main as launcher
from launch.bench import cache as benchmark_cache
from launch.bench import readers as benchmark_readers
from launch.bench import steps as benchmark_steps
from launch.run import cli
from tests.fast_compile import xla_flags

ROOT = Path(__file__).parents[1]
GUIDES = [p for folder in ("configs", "kdjax", "launch") for p in (ROOT / folder).rglob("README.md")]
README = "README.md"
TEXTS = {name: (ROOT / name).read_text() for name in (README, *sorted(str(p.relative_to(ROOT)) for p in GUIDES))}
FENCED = [(name, x) for name, text in TEXTS.items() for x in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)]
SNIPPETS = {f"{name}, line {TEXTS[name].count(chr(10), 0, x.start(2)) + 1}": x[2] for name, x in FENCED if x[1] == "python"}
COMMANDS = [line for _, x in FENCED if x[1] == "sh" for line in x[2].replace("\\\n", " ").splitlines()]
PROSE = "\n".join(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S) for text in TEXTS.values())
SMALL = [
    "--config.seeds=2", "--config.teacher_training.epochs=1", "--config.student_training.epochs=1",
    "--config.teacher_training.net.widths=4,", "--config.student_training.net.widths=4,", "--config.baseline_rates=()",
]  # fmt: skip


def arguments(command, script):
    """The words behind `launch/<script>.py` in a command, which another may hold in quotation marks."""
    before, found, words = command.partition(f"launch/{script}.py ")
    return shlex.split(words.removesuffix('"') if before.count('"') % 2 else words) if found else None


def launch(script, *words, cwd, **environment):
    """Runs a script of launch/ on one device."""
    environment = os.environ | {"XLA_FLAGS": xla_flags(1), "KDJAX_CACHE": str(cwd / "cache")} | environment
    command = [sys.executable, ROOT / "launch" / f"{script}.py", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the first command was run, with tiny networks."""
    cwd = tmp_path_factory.mktemp("readme")
    words = arguments(COMMANDS[0], "main")
    said = launch("main", words[0].replace("configs/", f"{ROOT}/configs/"), *words[1:], *SMALL, cwd=cwd)
    assert "kept in runs/quickstart" in said
    return cwd


def test_the_readme_was_read():
    assert len(SNIPPETS) == sum(text.count("```python") for text in TEXTS.values()) >= 6 and len(COMMANDS) >= 8
    assert len(TEXTS[README].splitlines()) <= 150


@pytest.mark.parametrize("where", SNIPPETS)
def test_snippet_runs(where, request, monkeypatch, capsys):
    for line in re.findall(r"^(?:import|from) (?:haiku|timm|torch|transformers)\b.*", SNIPPETS[where], re.M):
        try:
            exec(line)
        except ImportError as error:  # nor has version 5 of transformers nets of Flax
            pytest.skip(f"{line}: {error}")
    if "runs/quickstart" in SNIPPETS[where]:
        monkeypatch.chdir(request.getfixturevalue("folder"))
    exec(compile(SNIPPETS[where], where, "exec"), {"__name__": "__main__"})
    assert "nan" not in capsys.readouterr().out


def test_run_folder_is_as_described(folder):
    table = TEXTS["launch/README.md"].partition("| in the run's folder |")[2].partition("\n\n")[0]
    described = {name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert described == {p.name + "/" * p.is_dir() for p in (folder / "runs/quickstart").iterdir() if not p.name.startswith(".")}


@pytest.mark.parametrize("command", [c for c in COMMANDS if arguments(c, "predict")])
def test_predict_command_runs(command, folder):
    (folder / "photos").mkdir(exist_ok=True)
    for name in ("image.png", "photos/one.png", "photos/two.png"):
        Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(folder / name)
    said = launch("predict", *arguments(command, "predict"), cwd=folder)
    assert "image.png: " in said or "2 images written to answers.csv" in said or "features of 2 images" in said


@pytest.mark.parametrize("command", [c for c in COMMANDS if arguments(c, "main")])
def test_launch_command_is_accepted(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = arguments(command, "main")
    plain = [word for word in words if not word.startswith("--config")]
    joins = ("--distributed", "--coordinator", "--processes", "--process")
    assert all(word.partition("=")[0] in ("--workdir", "--list", "--help", *joins) for word in plain)
    config = next((word.removeprefix("--config=") for word in words if word.startswith("--config=")), "configs/quickstart.py")
    cli.read_config(config, [word for word in words if word.startswith("--config.")])


SHOWN = (
    "quickstart.py", "generations.py", "mutual.py", "self_distil.py:method=mixup", "ssl.py", "ssl.py:method=twist_labels",
    "data_free.py:method=fast_dfkd", "data_free_benchmark.py", "swa.py",
)  # fmt: skip


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"(--config\.[\w.]+)", PROSE))))
def test_fields_named_in_the_text_exist(flag):
    names = flag.rstrip(".").removeprefix("--config.").split(".")
    configs = [cli.read_config(str(ROOT / "configs" / name), [])[1] for name in SHOWN]
    for name in names:
        configs = [config[name] for config in configs if name in config]
    assert configs


def test_usage_texts_hold_the_flags_of_the_readme():
    programs = (launcher, predict, sample, report, pack, analyse, benchmark_readers, benchmark_cache, benchmark_steps)
    usages = "".join(x.USAGE for x in programs)
    known = {"--config", *re.findall(r"--[a-z]+", usages)}
    lines = [*PROSE.splitlines(), *COMMANDS]
    ours = "\n".join(line.partition("launch/")[2] if "launch/" in line else line for line in lines)
    assert set(re.findall(r"(?<=[ `])--[a-z]+", ours)) <= known


def test_every_method_and_net_is_listed():
    table = TEXTS[README].partition("## Methods")[2].partition("\n## ")[0]
    assert set(re.findall(r"`methods\.(\w+)`", table)) == set(methods.__all__)
    named = set(re.findall(r"`(\w+)`", table.partition("Nets with named taps")[2].partition("Besides")[0]))
    assert named <= set(models.NETS)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    links = [target.partition("#") for target in re.findall(r"\]\(([^)]+)\)", TEXTS[name]) if not target.startswith("http")]
    above = (ROOT / name).parent
    assert not [path for path, _, _ in links if not (above / path).is_file()]
    for path, _, heading in links:
        titles = re.findall(r"^#+ (.+)$", (above / path).read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in [title.lower().replace(" ", "-") for title in titles]


def test_the_check_that_guards_the_tree_runs_the_second_command():
    marked = [c for c in COMMANDS if "[dev]" in c]
    assert marked == [COMMANDS[1]] and "[dev]" in (ROOT / ".ci" / "run").read_text()
