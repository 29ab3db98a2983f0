"""Digests of host code that change when, and only when, what it does may."""

import functools
import importlib
import itertools
import sys

import numpy as np
import pytest

from kdjax.evaluate.classifier import classification, classification_together
from kdjax.evaluate.encoder import representation
from kdjax.train.host_code import of_host_code

OWN = {
    "kdjax_own/__init__.py": "",
    "kdjax_own/near.py": '''
"""Near."""
import numpy as np
from kdjax_own import far
from kdjax_own.far import helper

RATE = 0.5

def measure(collect, split, final=False):
    """What it is."""
    from kdjax_own.late import later  # imported when it is called
    return helper(split) * RATE + far.other(split) + later(split)

def unused(x):
    return x
''',
    "kdjax_own/far.py": """
def helper(x):
    return [inner(y) for y in x]

def inner(x):
    return x

def other(x):
    return 2 * x
""",
    "kdjax_own/late.py": "def later(x):\n    return x",
}


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """`digest(file, old, new)`: that of `measure` once a file reads otherwise."""
    folders = (tmp_path / str(i) for i in itertools.count())

    def found(file="kdjax_own/far.py", old="", new=""):
        folder = next(folders)
        for name, text in OWN.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace(old, new) if name == file and old else text)
        with monkeypatch.context() as patched:
            patched.syspath_prepend(str(folder))
            for name in ("", ".near", ".far", ".late"):
                patched.delitem(sys.modules, f"kdjax_own{name}", raising=False)
            return of_host_code(importlib.import_module("kdjax_own.near").measure)

    yield found
    for name in [name for name in sys.modules if name.startswith("kdjax_own")]:
        del sys.modules[name]


def test_all_code_that_is_called_counts_and_nothing_else(digest):
    near, far = "kdjax_own/near.py", "kdjax_own/far.py"
    wanted = digest()
    same = [("What it is.", "Something."), ('"""Near."""', "# near\n\n"), ("x):\n    return x", "x):\n    return 0")]
    assert {digest(near, old, new) for old, new in same} == {wanted}
    others = [
        (near, "0.5", "0.25"),
        (near, "final=False", "final=True"),
        (far, "return x", "return -x"),
        (far, "inner(y)", "-inner(y)"),
    ]
    others += [("kdjax_own/late.py", "return x", "return -x")]
    assert len({wanted, *(digest(*other) for other in others)}) == 6


def test_options_count_by_their_values():
    def with_matrix(matrix, *, power=2):
        return lambda x: (x @ matrix) ** power

    matrix = np.eye(2)
    assert of_host_code(with_matrix(matrix)) == of_host_code(with_matrix(matrix.copy()))
    others = (
        with_matrix(matrix + 1),
        with_matrix(matrix, power=3),
        functools.partial(with_matrix, matrix),
        functools.partial(with_matrix, matrix, power=3),
    )
    assert len({of_host_code(f) for f in (with_matrix(matrix), *others)}) == 5


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def method(self, x):
        return self.factor + x


def test_objects_count_by_what_they_hold():
    assert of_host_code(Scaled(2)) == of_host_code(Scaled(2))
    found = {of_host_code(x) for x in (Scaled(2), Scaled(3), Scaled(2).method, Scaled(3).method)}
    assert len(found) == 4


def test_what_leads_back_to_itself_ends():
    def f(x):
        return g(x)

    def g(x):
        return f(x) + len(found)

    found = []
    found.append(found)
    assert of_host_code(f) == of_host_code(f)


def test_measures_of_kdjax_are_told_apart():
    ensemble = {"nets": [{}, {}], "weights": [1.0, 3.0]}
    measures = (
        classification,
        classification_together(ensemble),
        classification_together(ensemble | {"weights": [1.0, 1.0]}),
        representation(),
        representation(draws=4),
    )
    assert len({of_host_code(m) for m in measures}) == 5 and of_host_code(representation()) == of_host_code(representation(draws=5))
