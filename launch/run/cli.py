"""Command lines that answer a wrong word with one line and exit code 2."""

import argparse
import ast
import errno
import importlib.util
import logging
import math
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # config files import each other from the checkout

from kdjax.core import InputError, nearest, pick  # noqa: E402
from kdjax.core.paths import is_single, read_number, read_whole, user_path  # noqa: E402
from kdjax.core.printable import printable  # noqa: E402
from launch.run.streams import any_text  # noqa: E402


class Parser(argparse.ArgumentParser):
    """argparse with one-line refusals."""

    def error(self, message: str) -> NoReturn:
        """Raises what `run` shows."""
        raise InputError(message)


def run(main: Callable[[], None]) -> NoReturn:
    """Runs `main`: exit code 0 when done, or saved after a signal; 2 with one line for refused input; 1 for a failure."""
    from kdjax.train import Diverged, Stopped

    any_text()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it has a word of its own on a home that cannot be written
    try:
        main()
        sys.stdout.flush()
    except Stopped as stopped:
        tell(stopped)
    except Diverged as error:
        sys.exit(_one_line(error, 1))
    except InputError as error:
        sys.exit(_one_line(error, 2))
    except KeyboardInterrupt:
        sys.exit(_one_line("interrupted; what was saved stays, and the same command goes on from there", 130))
    except BrokenPipeError:  # `main.py --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        _free_stdout()
        place = "" if error.filename is None else f"{error.filename}: "
        again = "; what was saved stays, and the same command goes on from there" if error.errno in _FULL else ""
        sys.exit(_one_line(f"{place}{error.strerror}{again}", 2))
    sys.exit(0)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what anything that writes may meet


def _free_stdout() -> None:
    """Where nothing more can be written, neither can what stdout still holds: without this Python says so at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(error: object, code: int) -> int:
    with suppress(OSError):  # a full disk may hold stderr as well
        tell("error: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def tell(line: object, **where: Any) -> None:
    """Prints one line that may hold names from outside."""
    print(printable(line), flush=True, **where)


def command(program: str, *words: str | Path) -> str:
    """A command of this checkout that can be pasted where the user stands, with its words quoted."""
    python = "python" if shutil.which("python") == sys.executable else _from_here(sys.executable or "python")
    paths = [f"./{word}" if str(word).startswith("-") else str(word) for word in words]
    return " ".join(map(quote, (python, _from_here(ROOT / "launch" / program), *paths)))


def _from_here(place: str | Path) -> str:
    here = Path.cwd()
    return str(Path(place).relative_to(here) if Path(place).is_relative_to(here) else place)


def whole(name: str, text: str, least: int, most: int = 10**9 - 1) -> int:
    """A whole number of the command line."""
    value = read_whole(text)
    if value is None or not least <= value <= most:
        bounds = f"{least} or more" if most == 10**9 - 1 else f"{least} to {most}"
        raise InputError(f"{name}={text!r} is not accepted: expected a whole number, {bounds}")
    return value


def file_to_write(name: str, text: str | None) -> Path | None:
    """The file that a flag names, refused before any work where it cannot be written; None where nothing is named."""
    if not text:
        return None
    place = user_path(text)
    if place.is_dir():
        raise InputError(f"{name}={text} is a folder: expected a file")
    if not place.absolute().parent.is_dir():
        raise InputError(f"{name}={text} is not accepted: the folder {place.parent} is not there")
    return place


def read_config(text: str, overrides: Sequence[str]) -> tuple[Any, Any]:
    """The module of `path.py[:variant]` and its config with the overrides `--config.a.b=value` applied."""
    path, variant = config_place(text)
    module = _module(path)
    config = _imported(path, lambda: module.get_config(variant))
    if not hasattr(config, "lock"):
        raise InputError(f"config file {path!r} is refused: expected an ml_collections.ConfigDict from get_config")
    config.lock()
    # Another optimiser first: it brings the fields that other flags may set.
    for override in sorted(overrides, key=lambda given: ".optimiser.name=" not in given):
        name, equals, value = override.partition("=")
        if not name.startswith("--config."):
            known = [
                "--config",
                "--config.<field>",
                "--workdir",
                "--distributed",
                "--coordinator",
                "--processes",
                "--process",
                "--list",
                "--help",
            ]
            raise InputError(f"{override!r} is not known; accepted: {nearest(name, known)}")
        if not equals:
            raise InputError(f"{override!r} has no value: expected {name}=<value>")
        _set(module, config, name.removeprefix("--config."), value, beside=overrides)
    return module, config


def config_place(text: str) -> tuple[str, str]:
    """The path and the variant of `path.py[:variant]`: seen from where the user stands, else from the checkout.

    A colon may be a part of the path.
    """
    for end in [*(i for i, c in enumerate(text) if c == ":"), len(text)]:
        path = user_path(text[:end])
        for found in (path, ROOT / path):
            if found.is_file():
                return str(found), text[end + 1 :]
    path, _, variant = text.partition(":")
    return path, variant


def _module(path: str) -> Any:
    if not Path(path).is_file():
        here = [p.name for p in (ROOT / "configs").glob("[!_]*.py")]
        nearby = nearest(Path(path).name, here)
        raise InputError(f"config file {path!r} is not there; accepted: configs/{nearby}, or a file of your own")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"config file {path!r} is refused: expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    execute = spec.loader.exec_module
    _imported(path, lambda: execute(module))
    if not (hasattr(module, "get_config") and hasattr(module, "build")):
        raise InputError(f"config file {path!r} is refused: expected functions get_config(variant) and build(config) in it")
    return module


def _imported(path: str, execute: Callable[[], Any]) -> Any:
    """What a config file gives; an error in it is told with its line."""
    try:
        return execute()
    except InputError:
        raise
    except SyntaxError as error:
        raise InputError(f"config file {path!r} cannot be read: {error}") from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == Path(path)]
        where = f" (line {lines[-1]})" if lines else ""
        raise InputError(f"config file {path!r} cannot be read: {type(error).__name__}: {error}{where}") from error


def _set(module: Any, config: Any, field: str, text: str, *, beside: Sequence[str]) -> None:
    """Sets one field, whose present value says which type is accepted."""
    *sections, name = field.split(".")
    node, at = config, "config"
    for depth, part in enumerate([*sections, name]):
        if not hasattr(node, "keys") or part not in node:
            accepted = _alike(config, sections[:depth], part, node) if hasattr(node, "keys") else f"--{at}=<value> itself"
            raise InputError(f"field --{at}.{part} is not known; accepted: {accepted}")
        parent, node, at = node, node[part], f"{at}.{part}"
    if hasattr(node, "keys"):
        raise InputError(f"--{at} is a section; accepted: --{at}.<field>=<value> with a field of {', '.join(node)}")
    if name == "name" and sections[:1] in (["method"], ["methods"]) and text != node:
        _refuse_method(module, at, node, text)
    if name == "name" and sections[-1:] == ["optimiser"] and text != node:
        _exchange_optimiser(parent, at, text, beside)
    with parent.unlocked():
        parent[name] = _value(f"--{at}", node, text)


def _refuse_method(module: Any, at: str, present: str, text: str) -> NoReturn:
    """The name of a method comes with its options, so that another name needs other fields."""
    from configs.offline import METHODS
    from kdjax.experiment.words import parted

    own = getattr(module, "METHODS", None)
    for part in filter(None, parted(text)[0].split("+")):
        pick("method", part, own if isinstance(own, dict) else METHODS)
    variant = quote(f"{module.__file__}:method={text}")
    raise InputError(
        f"--{at}={text!r} is not accepted: the section holds the options of {present}; use the variant, --config={variant}"
    )


def _exchange_optimiser(section: Any, at: str, text: str, beside: Sequence[str]) -> None:
    """Gives a section the options of another optimiser, whose learning rate must be told too: one's is none for the other."""
    from kdjax.experiment.sections import OPTIMISER_OPTIONS, other_optimiser

    if text not in OPTIMISER_OPTIONS:
        return  # told by the checks
    rate = f"--{at.removesuffix('.name')}.learning_rate"
    if not any(given.startswith(f"{rate}=") for given in beside):
        raise InputError(f"--{at}={text!r} is not accepted alone: the learning rate is that of {section.name}; give {rate}= too")
    fields = other_optimiser(section, text)
    with section.unlocked():
        for field in [k for k in section if k not in fields]:
            del section[field]
        section.update(fields)


def _alike(config: Any, above: Sequence[str], part: str, node: Any) -> str:
    """What an unknown field may mean: one of its name in another section, the nearest sections first; else those beside it."""
    from launch.run.checks import fields

    named = [path for path, _ in fields(config) if path.endswith(f".{part}")]
    within = [path for path in named if path.startswith(".".join([*above, ""]))]
    return ", ".join(within or named) or nearest(part, node.keys())


_NAMES = ("layers", "norms")  # empty by default, and of words


def _value(name: str, present: Any, text: str) -> Any:
    """The text as a value of the type of the present one."""

    def refuse(accepted: str) -> NoReturn:
        raise InputError(f"{name}={text!r} is not accepted: expected {accepted}")

    if isinstance(present, str):
        return text
    if present is None:
        value = read_number(text)
        return None if text.lower() == "none" else value if value is not None and is_single(value) else refuse("a number, or none")
    if isinstance(present, bool):
        words = {"true": True, "1": True, "false": False, "0": False}
        return words[text.lower()] if text.lower() in words else refuse("true or false")
    if isinstance(present, int):
        return refuse("a whole number") if (count := read_whole(text)) is None else count
    if isinstance(present, float):
        value = read_number(text)
        if value is None:
            refuse("a finite number" if text.strip("+-").lower() in ("nan", "inf", "infinity") else "a number")
        return value if is_single(value) else refuse("a finite number" if math.isinf(value) else "a number of single precision")
    kinds = {type(x) for x in present} or ({str} if name.rpartition(".")[2] in _NAMES else {int, float})
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if kinds != {str}:
            refuse("values with commas between them")
        value = [word.strip() for word in text.split(",") if word.strip()]  # names need no quotes
    value = tuple(value) if isinstance(value, tuple | list) else (value,)
    if any(type(x) not in kinds | ({int} if float in kinds else set()) for x in value):
        refuse(f"values of type {', '.join(sorted(k.__name__ for k in kinds))} with commas between them")
    if kinds != {str} and any(read_number(word) is None for word in re.split(r"[\s,()\[\]]+", text) if word):
        refuse("values with commas between them")  # Python's own signs for numbers, such as 1_0 and 0x1
    if any(isinstance(x, float) and not is_single(x) for x in value):
        refuse("finite numbers of single precision")
    return value
