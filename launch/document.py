"""Makes pages of every public function and class out of docstrings, to be read offline.

python launch/document.py --out=api
"""

import io
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import kdjax
from kdjax.core.paths import user_path
from launch.run import cli

USAGE = """python launch/document.py [--out=<dir>]

  --out=<dir>  where; default api. Its index.html is the first page; another build in it is replaced. It needs Sphinx,
               which comes with the extra dev. What a docstring cannot be shown as is an error.
"""
OPTIONS = {
    "project": "kdjax",
    "extensions": ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"],
    "autodoc_member_order": "bysource",
    "napoleon_use_ivar": True,  # else the fields of a NamedTuple are told twice
    "html_theme": "alabaster",
}


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", default="api")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_args()
    if args.help:
        return print(USAGE)
    out = user_path(args.out)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "index.html").is_file()):
        raise cli.InputError(f"--out={args.out} is not accepted: expected an empty folder, or one of such pages")
    try:
        from sphinx.application import Sphinx
    except ModuleNotFoundError:
        raise cli.InputError("sphinx is not installed; it comes with: pip install -e '.[dev]'") from None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Sphinx's extensions are not up to its own next version
        pages, built = Path(folder, "pages"), Path(folder, "html")
        _write(pages)
        warned = io.StringIO()
        app = Sphinx(pages, None, built, Path(folder, "state"), "html", OPTIONS, status=None, warning=warned)
        app.connect("autodoc-process-docstring", _as_code, priority=1)  # before sections are read
        app.build()
        if lines := warned.getvalue().splitlines():
            raise cli.InputError(f"{len(lines)} warnings of Sphinx, the first: {lines[0]}")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(built, out)
    cli.tell(f"{out / 'index.html'}: {len(kdjax.__all__) - 1} packages")


def _write(pages: Path) -> None:
    """A page a package."""
    pages.mkdir()
    parts = [name for name in kdjax.__all__ if name != "load"]
    for part in parts:
        title = f"kdjax.{part}"
        members = f".. automodule:: {title}\n   :members:\n   :imported-members:\n"
        (pages / f"{part}.rst").write_text(f"{title}\n{'=' * len(title)}\n\n{members}")
    listed = "".join(f"   {part}\n" for part in parts)
    load = "``kdjax.load`` is :func:`kdjax.train.load`."
    first = f"kdjax\n=====\n\n{kdjax.__doc__}\n\n{load}\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}"
    (pages / "index.rst").write_text(first)


def _as_code(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings have code between single backticks, as Markdown has, and bars for absolute values."""
    pieces = re.split(r"(?<!`)`([^`]+)`(?!`)", "\n".join(lines))
    for k, piece in enumerate(pieces):
        beside = r"\ " * (k % 2 and bool(re.match(r"\w", pieces[k + 1])))  # a letter may follow code
        pieces[k] = f"{beside}``{piece.strip()}``{beside}" + " " * piece.endswith(" ") if k % 2 else piece.replace("|", r"\|")
    lines[:] = "".join(pieces).split("\n")


if __name__ == "__main__":
    cli.run(main)
