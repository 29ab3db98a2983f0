"""The stub by which type checkers know the options of every method, out of signatures.

A method that `method_of` makes of an objective has the objective's options beside those that all have, which no annotation can say.
"""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

from kdjax import methods
from kdjax.core import ArrayLike, AxisName, Weight

STUB = Path(methods.__file__).with_suffix(".pyi")

HEAD = """# Made by `python -m launch.table.methods`.
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import optax

from kdjax.core import ArrayLike, AxisName, Method, Net, Weight
from kdjax.methods.recipes import Objective
"""


def stub() -> str:
    """What `STUB` should hold."""
    found = {name: getattr(methods, name) for name in methods.__all__}
    made = {name: method for name, method in found.items() if hasattr(method, "objective")}
    plain = {name: method for name, method in found.items() if name not in made}
    taken = [f"from {method.__module__} import {method.__name__} as {name}" for name, method in plain.items()]
    text = "\n".join([HEAD, *sorted(taken), "", *(f"def {name}{_signature(method)}: ..." for name, method in made.items())])
    text += f"\n\n__all__ = {methods.__all__!r}\n"
    for command in (["check", "--select", "I,F401", "--fix"], ["format"]):
        words = [sys.executable, "-m", "ruff", *command, "-q", "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout
    return text


class _Text(str):
    """An annotation that is shown as it stands."""

    __repr__ = str.__str__


def _signature(method: Any) -> str:
    found = inspect.signature(method).parameters.values()
    return f"{inspect.Signature([p.replace(annotation=_Text(_type(p))) for p in found])} -> Method"


def _type(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    if kind is inspect.Parameter.empty:
        return "Weight"  # of the labels
    for name, alias in {"AxisName": AxisName, "Weight": Weight}.items():
        if kind == alias:
            return name
    parts = [ArrayLike] if set(get_args(ArrayLike)) <= set(get_args(kind)) else []
    left = [one for one in get_args(kind) if one not in get_args(ArrayLike)] if parts else [kind]
    named = ["ArrayLike"] * len(parts) + ["None" if one is type(None) else inspect.formatannotation(one) for one in left]
    text = " | ".join(named).replace("optax._src.base.", "optax~").replace("collections.abc.", "")
    return re.sub(r"kdjax\.[\w.]*\.(?=\w)", "", text).replace("optax~", "optax.")
