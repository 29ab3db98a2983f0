"""Digests that change when, and only when, what they stand for does."""

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.train import fingerprint

X = np.arange(6, dtype=np.float32)


def test_array_counts_by_bytes_shape_and_dtype():
    same = {fingerprint.of_array(x) for x in (X, jnp.asarray(X), X.copy(), np.repeat(X, 2)[::2])}
    assert len(same) == 1 and len(next(iter(same))) == 64
    others = (X + 1, X.reshape(2, 3), X.view(np.int32), X.astype(np.float64), np.where(X == 0, -0.0, X).astype(np.float32))
    assert len(same | {fingerprint.of_array(x) for x in others}) == 1 + len(others)


def test_tree_counts_by_paths_and_arrays():
    tree = {"a": X, "b": {"c": X}}
    assert fingerprint.of_tree(tree) == fingerprint.of_tree({"b": {"c": jnp.asarray(X)}, "a": X})
    others = ({"a": X, "b": {"d": X}}, {"a": X, "b": {"c": X + 1}}, {"a": X}, {"a": X, "b": X})
    assert len({fingerprint.of_tree(t) for t in (tree, *others)}) == 5


def test_json_ignores_the_order_of_names_only():
    value = {"a": [1, 2], "b": 0.5}
    assert fingerprint.of_json(value) == fingerprint.of_json({"b": 0.5, "a": (1, 2)})
    assert len({fingerprint.of_json(v) for v in (value, {"a": [2, 1], "b": 0.5}, {"a": [1, 2], "b": 0.25}, {"a": [1, 2]})}) == 4


def test_code_is_the_same_in_another_process_and_platform_is_json():
    code = "from kdjax.train import fingerprint; print(fingerprint.of_code())"
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == fingerprint.of_code()
    assert {"device", "devices", "jax", "flax", "optax"} <= set(json.loads(json.dumps(fingerprint.of_platform())))


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program(file, changed)`: the digest of a program of several files once one of them reads otherwise."""
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {
        "main.py": "from kdjax_own import near\nimport numpy, kdjax",
        "kdjax_own/__init__.py": "",
        "kdjax_own/near.py": "def f():\n    from . import far  # not imported before it is called",
        "kdjax_own/far.py": "import kdjax_loose.inner, missing_module",
        "kdjax_loose/inner.py": "rate = 0.1",  # a package without __init__.py
        "kdjax_own/other.py": "",
        "site-packages/kdjax_installed.py": "",
    }

    def digest(file="main.py", changed=""):
        for name, text in (files | {file: files[file] + changed}).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return fingerprint.of_program(tmp_path / "main.py")

    return digest


def test_a_program_counts_with_all_that_it_imports(program):
    changed = "\nrate = 0.0"
    wanted = program()
    files = ("main.py", "kdjax_own/__init__.py", "kdjax_own/near.py", "kdjax_own/far.py", "kdjax_loose/inner.py")
    assert len({wanted, *(program(file, changed) for file in files)}) == 6
    assert program("kdjax_own/other.py", changed) == wanted == program()
    assert "kdjax_own" not in sys.modules


def test_installed_packages_are_no_part_of_a_program(program, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    wanted = program("main.py", "\nimport kdjax_installed")
    (tmp_path / "site-packages" / "kdjax_installed.py").write_text("rate = 0.0")
    assert fingerprint.of_program(tmp_path / "main.py") == wanted


def test_a_name_does_not_change_a_program(tmp_path):
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("from configs import quickstart")
    assert fingerprint.of_program(files[0]) == fingerprint.of_program(files[1])
