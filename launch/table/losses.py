"""The table of losses in their README, out of docstrings and signatures.

`python -m launch.table.losses` writes it.
"""

import inspect
import re
from pathlib import Path

from kdjax import losses

README = Path(__file__).parents[2] / "kdjax/losses/README.md"
HEAD = "| loss | of what | `where` | gives | many devices | paper |"


def rows() -> list[str]:
    """A row a loss, short names beside the long one."""
    names: dict[object, list[str]] = {}
    for name in losses.__all__:
        names.setdefault(getattr(losses, name), []).append(name)
    return sorted(_row(loss, found) for loss, found in names.items())


def readme() -> str:
    """The README as it should be."""
    before, found, after = README.read_text().partition(f"{HEAD}\n")
    assert found, f"no line {HEAD!r}"
    rule = "|" + "---|" * (HEAD.count("|") - 1)
    return "\n".join([f"{before}{HEAD}", rule, *rows()]) + f"\n\n{after.partition(chr(10) * 2)[2]}"


def _row(loss, names: list[str]) -> str:
    text, parameters = inspect.getdoc(loss) or "", inspect.signature(loss).parameters
    arrays = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    shapes = ", ".join(f"{name} {_shape(text, name)}".strip() for name in arrays)
    long, *short = sorted(names, key=len, reverse=True)
    called = f"`{long}`" + "".join(f" (`{name}`)" for name in short)
    paper = re.search(r"arXiv (\d+\.\d+)", text)
    link = f"[{paper[1]}](https://arxiv.org/abs/{paper[1]})" if paper else ""
    axis = "`axis_name`" if "axis_name" in parameters else ""
    return f"| {called} | {shapes} | {_shape(text, 'where') if 'where' in parameters else ''} | {_gives(text)} | {axis} | {link} |"


def _shape(text: str, name: str) -> str:
    """The first shape that the description of an argument names."""
    described = re.search(rf"^  (?:\w+, )*{name}(?:, \w+)*: (.+?)(?=^  \w|^$)", text, re.MULTILINE | re.DOTALL)
    found = re.search(r"`\[[^`]*\]`", described[1]) if described else None
    return found[0] if found else ""


def _gives(text: str) -> str:
    returns = text.partition("Returns:\n")[2]
    found = re.match(r"\s*(?:A scalar|(?:int32 )?(`\[[^`]*\]`))", returns)
    return (found[1] or "a scalar") if found else "see there"


def main() -> None:
    """Writes the README."""
    README.write_text(readme())


if __name__ == "__main__":
    main()
