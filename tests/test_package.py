"""What is installed: the wheel, and what it asks for."""

import ast
import email
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import hatchling.build
import pytest

import kdjax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Modules whose package has another name.
MODULES = {"jaxlib": "jax", "sklearn": "scikit-learn", "PIL": "pillow", "orbax": "orbax-checkpoint", "google": "protobuf"}
BROUGHT = {"scipy", "tensorstore", "google", "protobuf", "rich"}  # what the base install brings by itself


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out, here = tmp_path_factory.mktemp("wheel"), Path.cwd()
    os.chdir(ROOT)
    try:
        yield out / hatchling.build.build_wheel(str(out))
    finally:
        os.chdir(here)


@pytest.fixture
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "kdjax").rglob("*") if p.suffix in (".py", ".pyi", ".md", ".typed")}
    assert names == sources
    assert {"kdjax/py.typed", "kdjax/__init__.py", "kdjax/losses/logits.py"} <= names


def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import kdjax; from kdjax.experiment import distillation; print(kdjax.__file__, kdjax.losses.kd.__module__)"
    code += "; print(distillation.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    package = tmp_path / "kdjax"
    assert found.stdout.split() == [
        str(package / "__init__.py"), "kdjax.losses.logits", str(package / "experiment" / "distillation.py"),
    ]  # fmt: skip


def test_metadata(metadata):
    assert metadata["Name"] == "kdjax" and metadata["Version"] == kdjax.__version__
    assert metadata["License-Expression"] == "Apache-2.0" and metadata.get_all("License-File") == ["LICENSE"]
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def packages(lines):
    """The names of packages that are asked for, those of other extras of ours among them."""
    for line in lines:
        own = re.match(r"kdjax\[([\w,]+)\]", line)
        yield from packages(x for name in own[1].split(",") for x in EXTRAS[name]) if own else [re.match(r"[\w-]+", line)[0]]


def imported(nodes):
    """The packages of others that are imported, by the names they are installed by."""
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {m.split(".")[0] for m in names} - set(sys.stdlib_module_names) - {"kdjax", "configs", "launch"}
    return {MODULES.get(m, m.replace("_", "-")) for m in others}


def test_base_install_is_small():
    assert list(packages(PROJECT["dependencies"])) == ["jax", "flax", "optax", "orbax-checkpoint", "chex", "numpy"]
    assert not any("<" in line for line in PROJECT["dependencies"]), "an upper bound would make pip downgrade a user's JAX"


@pytest.mark.parametrize(("folder", "extra"), [("kdjax", "run"), ("configs", "run"), ("launch", "tensorboard")])
def test_what_is_imported_is_asked_for(folder, extra):
    asked = {*packages(PROJECT["dependencies"]), *packages(EXTRAS[extra]), *packages(EXTRAS["equinox"])}
    assert not asked & {"tensorflow", "torch"}
    for path in (ROOT / folder).rglob("*.py"):
        missing = imported(ast.walk(ast.parse(path.read_text()))) - asked
        assert not missing, f"{path.name} imports {missing}"


def test_what_an_extra_installs_is_imported_where_its_name_is_told():
    base = set(packages(PROJECT["dependencies"]))
    for path in (ROOT / "kdjax").rglob("*.py"):
        tree = ast.parse(path.read_text())
        guarded = [
            x for x in ast.walk(tree) if isinstance(x, ast.With) and ast.unparse(x.items[0]) in ("extra('run')", "extra('equinox')")
        ]
        bare = {*ast.walk(tree)} - {x for block in guarded for x in ast.walk(block)}
        assert not (found := imported(bare) - base), f"{path.name} imports {found} outside of extra(...)"


WITHOUT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.split(".")[0] in %r else find(name, *more)
"""


def without_extras(code, *words):
    """What a program does where only the base install is there."""
    modules = {package: module for module, package in MODULES.items()}
    names = {modules.get(package, package.replace("-", "_")) for package in packages(EXTRAS["run"])}
    command = [sys.executable, "-c", WITHOUT % (names - BROUGHT,) + code, *words]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


def test_losses_nets_methods_and_stages_need_the_base_install_only():
    code = "import kdjax; from kdjax import augment, core, data, evaluate, losses, methods, models, train; kdjax.load"
    code += "\ntry:\n    data.load('digits')\nexcept core.InputError as error:\n    print(error)"
    found = without_extras(code)
    assert found.stdout.splitlines() == ["sklearn is not installed; it comes with: pip install 'kdjax[run]'"], found.stderr


@pytest.mark.parametrize("command", ["main", "report", "predict", "analyse", "pack", "benchmark", "sample"])
def test_the_launcher_without_its_extra_ends_with_one_line(command):
    found = without_extras(f"import runpy; runpy.run_path('launch/{command}.py', run_name='__main__')", "--help")
    assert found.returncode == 1 and found.stdout == ""
    assert found.stderr.startswith("error: ml_collections, sklearn, ") and found.stderr.count("\n") == 1
    assert "pip install -e '.[run]'" in found.stderr


def test_a_loss_imports_jax_and_none_of_what_trains():
    code = "import sys; from kdjax import losses; print(sorted({x.split('.')[1] for x in sys.modules if x.startswith('kdjax.')}))"
    code += "; print(*({'flax', 'optax', 'chex', 'orbax', 'scipy.stats', 'sklearn', 'rich'} & set(sys.modules)))"
    assert without_extras(code).stdout.splitlines() == ["['core', 'losses']", ""]
