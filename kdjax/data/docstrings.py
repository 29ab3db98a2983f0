"""Text that comes with Python: the docstrings of its standard library, as bytes, without any file or network."""

import ast
import sysconfig
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


def read_docstrings(rest: str = "") -> Arrays:
    """The docstrings of a few modules of the running Python's standard library, read from their source, cut into rows.

    A row is 64 bytes of text in UTF-8, its labels are the 64 bytes one further on. Docstrings of a module stand one behind the
    other in the order of its text, parted by an empty line; what does not fill a row is left out. Other modules are tested than
    learnt. Other versions of Python have other texts.

    Args:
      rest: what followed the name; nothing is accepted.

    Returns:
      Arrays with tokens and labels, int32 `[N, 64]`, and 256 names, those of the bytes.

    Raises:
      InputError: when something follows the name, or where this Python comes without the source of its library.

    >>> arrays = read_docstrings()
    >>> row = arrays.test["tokens"][0]
    >>> bytes(row.tolist()).decode()[:26], row.shape
    ('Configuration file parser.', (64,))
    """
    if rest:
        raise InputError(f"data source 'docstrings:{rest}' is not known; accepted: docstrings")
    train, test = (_rows(b"\n\n".join(_text(name) for name in names)) for names in (TRAIN, TEST))
    return Arrays(train, test, tuple(str(byte) for byte in range(256)))


def _text(module: str) -> bytes:
    file = Path(sysconfig.get_path("stdlib")) / f"{module}.py"
    if not file.is_file():
        raise InputError(f"data source 'docstrings' reads {file}, which is not there: expected a Python with its library's source")
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, places) and node.body]
    found.sort(key=lambda node: node.body[0].lineno)
    return "\n\n".join(filter(None, map(ast.get_docstring, found))).encode()


def _rows(text: bytes) -> dict[str, np.ndarray]:
    read = np.frombuffer(text, np.uint8).astype(np.int32)
    count = (len(read) - 1) // LENGTH
    tokens, label = (read[start : start + count * LENGTH].reshape(count, LENGTH) for start in (0, 1))
    return {"tokens": tokens, "label": label}
