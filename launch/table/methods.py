"""The tables of methods in the READMEs, out of docstrings, signatures and the tables of `configs/`.

`python -m launch.table.methods` writes them, and the types of the methods' options.
"""

import importlib
import inspect
import re
from pathlib import Path

from configs import data_free, offline, self_distil, ssl
from kdjax import methods
from kdjax.experiment.entry import Table, keyword_defaults
from launch.table.method_types import STUB, stub

ROOT = Path(__file__).parents[2]
TABLES: dict[str, Table] = {
    "data_free": data_free.METHODS, "offline": offline.METHODS, "self_distil": self_distil.METHODS, "siamese": ssl.METHODS
}  # fmt: skip
FAMILIES = "| family | who trains whom | methods |"
METHODS = "| method | what it does | options | paper |"


def family_of(name: str) -> str:
    """The folder of a method."""
    return getattr(methods, name).__module__.split(".")[2]


def family_rows(family: str) -> list[str]:
    """A row a method: those of the folder, and the ways to use them that the family's table in `configs/` names."""
    table = TABLES.get(family, {})
    names = {name for name in methods.__all__ if family_of(name) == family}
    others = {name for name in methods.__all__ if family_of(name) != family}
    return [_row(name, table) for name in sorted(names | table.keys() - others)]


def families_rows() -> list[str]:
    """A row a family, in the words of its package."""
    found: dict[str, list[str]] = {}
    for name in methods.__all__:
        found.setdefault(family_of(name), []).append(f"`methods.{name}`")
    return [
        f"| [{family}](kdjax/methods/{family}/README.md) | {_package(family)} | {', '.join(names)} |"
        for family, names in sorted(found.items())
    ]


def readmes() -> dict[Path, str]:
    """The READMEs that hold such a table, as they should be."""
    found = {ROOT / "README.md": (FAMILIES, families_rows())}
    for family in sorted({family_of(name) for name in methods.__all__}):
        found[ROOT / "kdjax" / "methods" / family / "README.md"] = (METHODS, family_rows(family))
    return {path: _with_table(path.read_text(), head, rows) for path, (head, rows) in found.items()}


def _row(name: str, table: Table) -> str:
    builder, entry = getattr(methods, name, None), table.get(name)
    options = keyword_defaults(builder) if builder else {}
    does = [_sentence(builder)] if builder else []
    if entry:
        options |= keyword_defaults(entry.method) | keyword_defaults(entry.stages)
        if options.pop("first", None) or not builder:
            does.append(_sentence(entry.stages))
    shown = ", ".join(f"`{k}={v!r}`" for k, v in options.items())
    return f"| `{name}` | {' '.join(does)} | {shown} | {_paper(builder)} |"


def _sentence(function) -> str:
    """What a function does, by its docstring."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _paper(builder) -> str:
    """What a docstring names as its reference, with a link."""
    found = re.search(r"Reference: (.+?)(?:\n\n|$)", inspect.getdoc(builder) or "", re.DOTALL) if builder else None
    if not found:
        return ""
    paper = re.split(r"; |\.(?= |$)", " ".join(found[1].split()))[0]
    return re.sub(r"arXiv (\d+\.\d+)", r"[\1](https://arxiv.org/abs/\1)", paper)


def _package(family: str) -> str:
    return (importlib.import_module(f"kdjax.methods.{family}").__doc__ or "").removesuffix(".")


def _with_table(text: str, head: str, rows: list[str]) -> str:
    before, found, after = text.partition(f"{head}\n")
    assert found, f"no line {head!r}"
    rest = after.partition("\n\n")[2]
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([f"{before}{head}", rule, *rows]) + f"\n\n{rest}"


def main() -> None:
    """Writes the READMEs and the stub."""
    for path, text in readmes().items():
        path.write_text(text)
    STUB.write_text(stub())


if __name__ == "__main__":
    main()
