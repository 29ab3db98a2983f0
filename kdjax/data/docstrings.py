"""Text that comes with Python and its packages: their docstrings, as bytes, without any further file or network."""

import ast
import hashlib
import sysconfig
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kdjax.core.check import InputError
from kdjax.data.source import Arrays

LENGTH = 64  # bytes that a row holds, each with the one behind it as its label
TRAIN = (
    "_pydecimal", "argparse", "difflib", "doctest", "inspect", "ipaddress", "os", "shutil", "socketserver", "subprocess",
    "threading", "traceback", "turtle", "typing",
)  # fmt: skip
TEST = ("configparser", "datetime", "optparse", "statistics")
PACKAGES = ("flax", "jax", "numpy", "optax", "scipy", "sklearn")  # which `.[run]` installs
OF_FILE = 50  # rows at most
OF_PACKAGE = {"test": 250, "train": 1500}


def read_docstrings(rest: str = "") -> Arrays:
    """The docstrings of the running Python's standard library, or of six packages, read from their source, cut into rows.

    A row is 64 bytes of text in UTF-8. Docstrings of a module stand one behind the other in the order of its text, parted by an
    empty line; what does not fill a row is left out. Other modules are tested than learnt. Other versions have other texts.

    Of some modules of the standard library, the labels of a row are the 64 bytes one further on. With `packages` the label is the
    package it is from, and all have as many rows, of files in an order by chance that the names of the files decide.

    Args:
      rest: what followed the name: nothing, or `packages`.

    Returns:
      Arrays with tokens int32 `[N, 64]` and labels, `[N, 64]` with 256 names, those of the bytes; or `[N]` with six names.

    Raises:
      InputError: when something else follows the name, where this Python comes without the source of its library, and where a
        package is not installed or has too few docstrings.

    >>> arrays = read_docstrings()
    >>> row = arrays.test["tokens"][0]
    >>> bytes(row.tolist()).decode()[:26], row.shape
    ('Configuration file parser.', (64,))
    """
    if rest == "packages":
        parts = [_of_package(name) for name in PACKAGES]
        train, test = ({"tokens": np.concatenate([x[part] for x in parts])} for part in ("train", "test"))
        for part, columns in (("train", train), ("test", test)):
            columns["label"] = np.repeat(np.arange(len(PACKAGES), dtype=np.int32), OF_PACKAGE[part])
        return Arrays(train, test, PACKAGES)
    if rest:
        raise InputError(f"data source 'docstrings:{rest}' is not known; accepted: docstrings, docstrings:packages")
    train, test = (_rows(b"\n\n".join(_of_module(name) for name in names)) for names in (TRAIN, TEST))
    return Arrays(train, test, tuple(str(byte) for byte in range(256)))


def _of_package(name: str) -> dict[str, np.ndarray]:
    """Rows of the docstrings of a package, `{"test": [n, 64], "train": [m, 64]}`, of different files."""
    found = find_spec(name)
    roots = (found and found.submodule_search_locations) or ()
    files = [(file.relative_to(root).as_posix(), file) for root in roots for file in Path(root).rglob("*.py")]
    left = sorted((x for x in files if "test" not in x[0]), key=lambda x: hashlib.sha256(x[0].encode()).digest(), reverse=True)
    parts = {}
    for part, count in OF_PACKAGE.items():
        text = b""
        while len(text) <= count * LENGTH:
            if not left:
                needs = f"needs {sum(OF_PACKAGE.values()):,} rows of docstrings of the package {name!r}, which has fewer"
                raise InputError(f"data source 'docstrings:packages' {needs if roots else f'needs the package {name!r}'}")
            text += _text(left.pop()[1])[: OF_FILE * LENGTH] + b"\n\n"
        parts[part] = _rows(text)["tokens"][:count]
    return parts


def _of_module(name: str) -> bytes:
    file = Path(sysconfig.get_path("stdlib")) / f"{name}.py"
    if not file.is_file():
        raise InputError(f"data source 'docstrings' reads {file}, which is not there: expected a Python with its library's source")
    return _text(file)


def _text(file: Path) -> bytes:
    """The docstrings of a source file."""
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with warnings.catch_warnings(action="ignore"):  # of escapes that newer versions of Python do not know
        parsed = ast.parse(file.read_bytes())
    found = [node for node in ast.walk(parsed) if isinstance(node, places) and node.body]
    found.sort(key=lambda node: node.body[0].lineno)
    return "\n\n".join(filter(None, map(ast.get_docstring, found))).encode()


def _rows(text: bytes) -> dict[str, np.ndarray]:
    read = np.frombuffer(text, np.uint8).astype(np.int32)
    count = (len(read) - 1) // LENGTH
    tokens, label = (read[start : start + count * LENGTH].reshape(count, LENGTH) for start in (0, 1))
    return {"tokens": tokens, "label": label}
