"""Programs start wherever the user stands, on bare machines, and take every path as it is meant."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import TINY, call

from kdjax.core import InputError
from launch import report
from launch.run import caches, cli, experiment
from launch.run.progress import summary_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def homeless(monkeypatch):
    """No HOME, and a user without an entry in the table of users."""
    for name in ("HOME", "KDJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def settings(monkeypatch):
    """JAX keeps the cache that the tests have."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ["JAX_COMPILATION_CACHE_DIR"])


def test_a_machine_without_git_has_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert experiment._git_commit() is None


@pytest.mark.usefixtures("homeless", "settings")
def test_without_a_home_nothing_is_kept_and_that_is_said_once(capsys):
    caches.use_caches()
    said = "nothing is kept for other runs: there is no home folder; set KDJAX_CACHE to a folder of your own\n"
    assert capsys.readouterr().err == said
    assert caches.stage_cache() is None
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("settings")
def test_a_home_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "file/cache"))
    caches.use_caches()
    assert capsys.readouterr().err.endswith(
        "file/cache cannot be written (Not a directory); set KDJAX_CACHE to a folder of your own\n"
    )
    assert caches.stage_cache() is None


def test_a_cache_is_made_for_its_owner_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        assert caches.stage_cache() == tmp_path / "cache/stages"
    finally:
        os.umask(before)
    assert [(tmp_path / "cache" / name).stat().st_mode & 0o777 for name in ("", "stages", "xla")] == [0o700] * 3


@pytest.mark.parametrize("part", ["", "stages", "xla"])
def test_a_cache_that_others_can_write_is_refused(part, launch, monkeypatch, tmp_path):
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))
    caches.stage_cache()
    (tmp_path / "cache" / part).chmod(0o777)
    answer = launch(f"--workdir={tmp_path / 'run'}", *TINY)
    assert (answer.code, answer.out) == (2, "")
    assert "can be written by all, and whoever can write there runs code as you: set KDJAX_CACHE" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_cache_of_another_user_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("KDJAX_CACHE", str(tmp_path / "cache"))
    caches.stage_cache()
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InputError, match="cache belongs to another user"):
        caches.stage_cache()


def test_home_is_expanded_in_every_path(run, launch, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run[0], tmp_path / "run")
    assert launch("--workdir=~/run", *TINY).code == 0
    assert call(report, "~/run", "--csv=~/lines.csv", "--out=~/out.md").code == 0
    for field in ("teacher=~/none", "data.source=npz:~/none", "data.source=folder:~/none", "data.source=array_record:~/none"):
        assert f"{tmp_path}/none" in launch("--workdir=~/other", f"--config.{field}").err, field
    (tmp_path / "mine.py").write_bytes((ROOT / "configs/quickstart.py").read_bytes())
    assert "Fields of mine.py" in launch("--config=~/mine.py", "--help").out
    assert {p.name for p in tmp_path.iterdir()} == {"run", "lines.csv", "out.md", "out.png", "mine.py"}


def test_from_another_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.config_place("configs/quickstart.py:method=at") == (str(ROOT / "configs/quickstart.py"), "method=at")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/quickstart.py").touch()
    assert cli.config_place("configs/quickstart.py")[0] == "configs/quickstart.py"


def test_a_colon_in_the_path_of_a_config(monkeypatch, tmp_path):
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b/c.py").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.config_place("a:b/c.py:method=kd,student=vit") == ("a:b/c.py", "method=kd,student=vit")
    assert cli.config_place("a:b/c.py") == ("a:b/c.py", "")
    assert cli.config_place("a:b/d.py:x") == ("a", "b/d.py:x")


def test_the_command_that_is_printed_runs_where_the_user_stands(run, monkeypatch, tmp_path, capsys):
    shutil.copytree(run[0], tmp_path / "two words")
    monkeypatch.chdir(tmp_path)
    summary_table(json.loads((run[0] / "summary.json").read_text()), Path("two words"))
    printed = next(x for x in capsys.readouterr().out.splitlines() if "predict.py" in x).partition(": ")[2]
    done = subprocess.run(printed.removesuffix("<image or folder>") + " none.png", shell=True, capture_output=True, text=True)
    assert done.returncode == 2 and "image none.png is not there" in done.stderr


def test_printed_commands_are_quoted(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv/bin/python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.command("predict.py", "a; rm b", "-x") == ".venv/bin/python launch/predict.py 'a; rm b' ./-x"


def test_any_encoding_will_do():
    code = "from launch.run.streams import any_text\nany_text()\nprint('98.4 ± 0.3, 猫 \\udce9')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout == rb"98.4 +- 0.3, \u732b \xe9" + b"\n"
