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
# Modules whose package has another name.
MODULES = {"jaxlib": "jax", "sklearn": "scikit-learn", "PIL": "pillow", "orbax": "orbax-checkpoint", "google": "protobuf"}


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
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "kdjax").rglob("*") if p.suffix in (".py", ".md", ".typed")}
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


def test_what_is_imported_is_asked_for():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["tensorboard"]]
    asked = {re.match(r"[\w-]+", line)[0] for line in wanted}
    assert not asked & {"tensorflow", "torch"}
    for folder in ("kdjax", "configs", "launch"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text())))
            found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
            found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
            others = {m.split(".")[0] for m in found} - set(sys.stdlib_module_names) - {"kdjax", "configs", "launch"}
            missing = {MODULES.get(m, m.replace("_", "-")) for m in others} - asked
            assert not missing, f"{path.name} imports {missing}"
