"""The rules of the code, read off the source itself."""

import ast
import fnmatch
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdjax import augment, core, methods

ROOT = Path(__file__).parents[1]
HOUSE = ("kdjax", "configs", "launch")
TOP_LEVEL = {*HOUSE, "tests", "pyproject.toml", "README.md", "LICENSE", ".gitignore", ".ci"}
HEIGHT = {
    "core": 0,
    "losses": 1,
    "models": 1,
    "augment": 1,
    "data": 1,
    "methods": 2,
    "evaluate": 2,
    "train": 3,
    "experiment": 4,
    "configs": 5,
    "launch": 6,
}
HEAVY = {"tensorflow_datasets", "sklearn", "matplotlib", "grain", "PIL", "orbax", "scipy", "skimage", "pandas"}
NEVER = {"tensorflow", "torch", "torchvision", "keras"}
SOURCES = sorted(p for folder in HOUSE for p in (ROOT / folder).rglob("*.py"))
PACKAGES = sorted(p for p in (ROOT / "kdjax").rglob("__init__.py") if p.parent != ROOT / "kdjax")


def name_of(path):
    return str(path.relative_to(ROOT))


def read(path):
    return ast.parse(path.read_text(), str(path))


def folder_of(path):
    """The part of the house a file lies in: `losses`, `configs`, ...; None for `kdjax/__init__.py` itself."""
    first, *rest = path.relative_to(ROOT).parts
    return first if first != "kdjax" else rest[0] if len(rest) > 1 else None


def imports(tree):
    """Every imported module, with the names taken from it, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def parts_imported(tree):
    for module, names in imports(tree):
        first, *rest = module.split(".")
        if first in ("configs", "launch"):
            yield first
        elif first == "kdjax":
            yield from rest[:1] or (n for n in names if n in HEIGHT)


def top_level_imports(tree):
    """Modules imported when the file is: not those inside functions, nor those for type checkers alone."""
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (module for module, _ in imports(node))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not for_types(node):
            todo += ast.iter_child_nodes(node)


def for_types(node):
    """Whether a type checker alone reads what is below."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def public(tree):
    """Public functions and classes of a module, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_"))


def test_the_tree_was_found():
    assert len(SOURCES) > 60 and len(PACKAGES) > 8
    assert {folder_of(p) for p in SOURCES} == {None, *HEIGHT}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_right_only(path):
    folder = folder_of(path)
    if folder is None:  # the roof, which imports on demand
        assert not [m for m in top_level_imports(read(path)) if m.startswith(("kdjax", "configs", "launch", "."))]
        return
    for part in parts_imported(read(path)):
        assert part == folder or HEIGHT[part] < HEIGHT[folder], f"{folder} imports {part}"
    if folder not in ("configs", "launch"):
        assert not {"tests", "configs", "launch"} & {m.split(".")[0] for m, _ in imports(read(path))}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_are_absolute_light_and_from_public_files(path):
    modules = list(imports(read(path)))
    assert not [m for m, _ in modules if m.startswith(".")]
    assert not NEVER & {m.split(".")[0] for m, _ in modules}
    if folder_of(path) not in ("configs", "launch"):
        assert not HEAVY & {m.split(".")[0] for m in top_level_imports(read(path))}
    folder = ".".join(path.relative_to(ROOT).parts[:-1])
    for module in [m for m, _ in modules] + [f"{m}.{n}" for m, names in modules for n in names]:
        above, private, _ = module.partition("._")
        assert not private or not above.startswith("kdjax") or folder.startswith(above), f"{module} belongs to its own folder"


def test_importing_everything_stays_light_and_silent():
    code = (
        "import sys, kdjax\n"
        "from kdjax import augment, core, data, evaluate, losses, methods, models, train\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(found.stdout.split())
    assert "kdjax" in loaded and not loaded & (HEAVY | NEVER)


def test_importing_kdjax_alone_imports_nothing_else():
    code = "import sys, kdjax; print('jax' in sys.modules); kdjax.losses.kd; print('flax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split()[0] == "False"


@pytest.mark.parametrize("path", [p for p in SOURCES if folder_of(p) not in ("configs", "launch")], ids=name_of)
def test_docstrings(path):
    tree = read(path)
    assert ast.get_docstring(tree), "the module"
    assert not [node.name for node in public(tree) if not ast.get_docstring(node)]


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_all_is_what_a_package_imports(path):
    tree = read(path)
    own = ".".join(path.parent.relative_to(ROOT).parts)
    bound = set()
    for node in (inside for block in tree.body for inside in (block.body if for_types(block) else [block])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(own + "."):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {t.id for t in targets if isinstance(t, ast.Name)}
    listed = getattr(importlib.import_module(own), "__all__", [])
    assert sorted(name for name in bound if not name.startswith("_")) == sorted(listed)


def test_what_core_imports_later_comes_from_where_type_checkers_see_it():
    """Its name is not that of a file beside, which would hide it."""
    blocks = [node for node in read(ROOT / "kdjax" / "core" / "__init__.py").body if for_types(node)]
    seen = {node.module: [alias.name for alias in node.names] for node in blocks[0].body}
    assert seen == {f"kdjax.core.{file}": list(names) for file, names in core._WITH_OPTAX.items()}
    for place, names in seen.items():
        assert [name for name in names if getattr(core, name) is not getattr(importlib.import_module(place), name)] == []
        assert not [name for name in names if (ROOT / "kdjax" / "core" / f"{name}.py").exists()]


@pytest.mark.parametrize("name", augment.__all__)
def test_augment_takes_the_key_first_and_options_by_name(name):
    parameters = list(inspect.signature(getattr(augment, name)).parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert all(p.default is p.empty or p.default == () for p in positional)
    if {"image", "images"} & {p.name for p in positional}:
        assert {p.name for p in positional} <= {"key", "image", "images", "labels", "box"}
    assert "key" not in [p.name for p in parameters[1:]]
    assert not {"rng", "seed", "prng"} & {p.name for p in parameters}
    for p in parameters:
        assert p.annotation is not p.empty, p


@pytest.mark.parametrize("name", methods.__all__)
def test_a_method_and_its_file_do_not_hide_each_other(name):
    place = getattr(methods, name).__module__
    above, _, file = place.rpartition(".")
    assert getattr(importlib.import_module(above), file) is importlib.import_module(place)


@pytest.mark.parametrize("name", methods.__all__)
def test_methods_take_hyperparameters_by_name(name):
    signature = inspect.signature(getattr(methods, name))
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert all(p.default is p.empty or p.default == () for p in positional)
    assert signature.parameters["axis_name"].default is None
    assert signature.parameters["axis_name"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", methods.__all__)
def test_methods_tell_all_that_they_take_and_what_they_return(name):
    method = getattr(methods, name)
    args, _, returns = (inspect.getdoc(method) or "").partition("\nArgs:\n")[2].partition("\n\nReturns:\n")
    told = {one for names in re.findall(r"^  (\w+(?:, \w+)*): ", args, re.M) for one in names.split(", ")}
    assert set(inspect.signature(method).parameters) == told
    assert returns.startswith("  A Method of batches of `") and "network" in returns.partition("\n\n")[0]


def places_of_tests(path):
    """Where the tests of a file of kdjax may lie."""
    below = path.relative_to(ROOT / "kdjax")
    folder = ROOT / "tests" / below.parts[0]
    return [folder / f"test_{below.stem}.py", folder / f"test_{below.parts[0]}_{below.stem}.py"]


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.is_relative_to(ROOT / "kdjax") and not p.name.startswith("_")], ids=name_of
)
def test_tests_mirror_the_house(path):
    if any(isinstance(node, ast.FunctionDef) for node in public(read(path))):
        assert any(place.is_file() for place in places_of_tests(path)), f"no test of {name_of(path)}"


def test_names_of_test_files_are_unique():
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_top_level_holds_nothing_else():
    assert kept_files() == TOP_LEVEL


def kept_files():
    """Top-level entries under version control; in a copy without it, all that .gitignore does not name."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return {line.partition("/")[0] for line in listed.splitlines()}
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    return {p.name for p in ROOT.iterdir() if not any(fnmatch.fnmatch(p.name, pattern) for pattern in ignored)}
