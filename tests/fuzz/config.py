"""Random words for `launch/main.py`, up to the moment when the run's folder would be made: nothing is trained.

The right answer is exit code 2 with one line, or acceptance; in both cases with nothing written.
"""

import contextlib
import hashlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "kdjax-test-cache"))

from launch import main
from launch.run import cli, experiment
from launch.run.checks import NAMES, fields

PATIENCE = 120  # seconds until an answer
CONFIGS = ("quickstart.py", "quickstart.py", "cifar100.py", "digits_byol.py", "digits_datafree.py", "benchmark.py")
METHODS = (
    "kd",
    "dkd",
    "dist",
    "at",
    "crd",
    "ab",
    "fitnet",
    "kd+at",
    "mlkd",
    "tst",
    "vid",
    "reviewkd",
    "lskd",
    "rkd",
    "pkt",
    "srrl",
)
NETS = ("conv_net", "conv_net", "resnet8", "vit", "vgg8")
WRONG = ("nothing", "kd+kd", "", "kd=", "resnte8", "method")
TINY = {  # what makes a case cheap, where a config has it
    "devices": "1", "seeds": "2", "smoothing": "0", "baseline_rates": "()", "evaluate_epochs": "1", "save_epochs": "1",
    "data.source": "digits", "data.image_size": "0", "data.train_images": "0", "data.mean": "()", "data.std": "()",
    "labels_per_class": "0", "teacher_training.epochs": "1", "student_training.epochs": "2", "encoder_training.epochs": "1",
    "teacher_training.net.widths": "(4,)", "student_training.net.widths": "(4,)", "encoder_training.net.widths": "(4,)",
}  # fmt: skip
ODD = (
    "", " ", "-", "~", "~/x", "~nobody/x", ".", "..", "/", "/proc/none/x", "/dev/null", "a" * 300, "\x1b[31m", "a\nb", "\udce9",
    "猫", "<b>", "'", '"', "$(x)", "a,b", "a=b", "a:b", ":", "None", "[]", "{}", "()", "(1,)", "nan", "inf", "-inf", "1e999",
    "1_0", "１", "0x1",
)  # fmt: skip
WHOLE = (-1, 0, 1, 2, 3, 5, 7, 64, 100, 1000, 10**6, 2**31 - 1, 2**31, 2**63, 10**30)
NUMBERS = (-1.0, -0.0, 0.0, 1e-300, 1e-9, 0.1, 0.5, 0.999, 1.0, 1.5, 4.0, 1e4, 1e30, 1e300)


class _Accepted(BaseException):
    """The run would begin now."""


class _Silent(BaseException):
    """No answer came."""


def attempt(random: np.random.Generator, folder: Path) -> tuple[str, str]:
    """One command; see `tests/fuzz/__main__.py`."""
    (folder / "file").write_text("mine")
    (folder / "full").mkdir()
    (folder / "full/thesis.txt").write_text("mine")
    words = _words(random, folder)
    before = _held(folder)
    with tempfile.TemporaryDirectory(prefix="kdjax-fuzz-cache-") as cache:
        code, out, err = _answer(words, folder, cache)
    tried = " ".join(map(ascii, words))
    return tried, _complaint(words, code, out, err) or ("something was written" if _held(folder) != before else "")


def _complaint(words: list[str], code: int, out: str, err: str) -> str:
    asked = {"--help", "-h", "--list"} & set(words)
    if code == 0 and (asked or not out) and not err:
        return ""
    lines = err.splitlines()
    if code == 2 and not out and len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable() and len(err) < 3000:
        return ""
    return f"exit code {code}, {out[-300:]!a}, {err[-2000:]!a}"


def _answer(words: list[str], folder: Path, cache: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; 0 where the run would begin."""
    out, err = io.StringIO(), io.StringIO()
    here, before = os.getcwd(), sys.argv
    kept = os.environ.get("KDJAX_CACHE")
    os.environ["KDJAX_CACHE"] = cache
    os.chdir(folder)
    sys.argv = ["launch/main.py", *words]
    code: Any = 0
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _replaced(experiment, "_begun", _accept),
            _patience(),
        ):
            cli.run(main.main)
    except _Accepted:
        pass
    except _Silent:
        code, err = 1, io.StringIO(f"no answer in {PATIENCE} s")
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before
        os.chdir(here)
        os.environ.pop("KDJAX_CACHE")
        os.environ.update({"KDJAX_CACHE": kept} if kept else {})
    return code, out.getvalue(), err.getvalue()


def _accept(*_: Any) -> None:
    raise _Accepted


@contextlib.contextmanager
def _replaced(owner: Any, name: str, by: Callable) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def silent(*_):
        raise _Silent

    before = signal.signal(signal.SIGALRM, silent)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _held(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in folder.rglob("*")}


def _words(random: np.random.Generator, folder: Path) -> list[str]:
    """A command that would be accepted, with up to three changes."""
    file = _one(random, CONFIGS)
    variant = _variant(random, file)
    present = _fields_of(file, variant)
    words = [f"--config=configs/{file}{variant}", f"--workdir={_workdir(random, folder)}"]
    words += [f"--config.{name}={value}" for name, value in TINY.items() if name in present]
    for _ in range(int(random.integers(0, 4))):
        name = _one(random, list(present))
        words.append(f"--config.{name}={_value(random, name, present[name])}")
    if random.random() < 0.15:
        words.append(
            _one(random, ("--list", "--help", "--nothing", "x", "--config.x=1", "--config.data=1", "--processes=2", "--config"))
        )
    if random.random() < 0.25:
        at = int(random.integers(len(words)))
        words[at] = _mutated(random, words[at])
    return words


def _fields_of(file: str, variant: str) -> dict[str, Any]:
    try:
        return dict(fields(cli.read_config(f"configs/{file}{variant}", ())[1]))
    except cli.InputError:
        return dict(fields(cli.read_config(f"configs/{file}", ())[1]))


def _variant(random: np.random.Generator, file: str) -> str:
    if random.random() < 0.3:
        return ":student=conv_net,teacher=conv_net" if file == "cifar100.py" else ""  # whose own nets take long to trace
    if file == "benchmark.py":
        return ":methods=" + _one(random, ("kd/at", "kd/dkd/crd", "kd/kd", "kd/", "nothing"))
    keys = {"digits_byol.py": ("encoder",), "digits_datafree.py": ("student", "teacher")}.get(
        file, ("method", "student", "teacher")
    )
    parts = [f"{key}={_one(random, METHODS if key == 'method' else NETS)}" for key in keys if random.random() < 0.5]
    if random.random() < 0.1:
        parts.append(_one(random, (*(f"{keys[0]}={word}" for word in WRONG), *ODD)))
    return ":" + ",".join(parts)


def _workdir(random: np.random.Generator, folder: Path) -> str:
    return "run" if random.random() < 0.8 else _one(random, ("", "file", "full", "file/run", str(folder / "a b"), "full/run", *ODD))


def _value(random: np.random.Generator, name: str, present: Any) -> str:
    """A value for a field: of its kind, or an odd one."""
    if random.random() < 0.2:
        return _one(random, ODD)
    known = next((accepted for end, accepted in NAMES.items() if name.endswith(end)), ())
    if isinstance(present, bool):
        return _one(random, ("true", "false", "1", "0", "yes"))
    if isinstance(present, int):
        return str(_one(random, WHOLE))
    if isinstance(present, float):
        return str(_one(random, (*NUMBERS, *WHOLE[:8])))
    if isinstance(present, str):
        return _one(random, (*known, *known, present, *ODD, "temperature=1,2", "learning_rate=0.1,0.2 weight=1"))
    several = [_one(random, (*present, *NUMBERS[2:10], *WHOLE[:9])) for _ in range(int(random.integers(0, 4)))]
    return f"({','.join(map(str, several))},)" if several else "()"


def _mutated(random: np.random.Generator, word: str) -> str:
    """The word with one sign changed, lost or doubled."""
    if not word:
        return "x"
    at = int(random.integers(len(word)))
    new = _one(random, ("", word[at] * 2, _one(random, tuple("=.,:-_()'\"\\ 0１é\x1b\n"))))
    return word[:at] + new + word[at + 1 :]


def _one(random: np.random.Generator, values: Any) -> Any:
    return values[int(random.integers(len(values)))]
