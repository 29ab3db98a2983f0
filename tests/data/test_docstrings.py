import inspect
import statistics

import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data import docstrings, load
from kdjax.data.docstrings import read_docstrings


def test_rows_are_the_text_and_labels_are_what_comes_next():
    arrays = read_docstrings()
    for part in (arrays.train, arrays.test):
        tokens, labels = part["tokens"], part["label"]
        assert tokens.shape == labels.shape == (len(tokens), 64) and tokens.dtype == labels.dtype == np.int32
        np.testing.assert_array_equal(tokens[:, 1:], labels[:, :-1])
        np.testing.assert_array_equal(tokens[1:, 0], labels[:-1, -1])
        bytes(tokens.reshape(-1).tolist()).decode(errors="ignore").index("Return")
    text = bytes(arrays.test["tokens"].reshape(-1).tolist()).decode()
    assert inspect.getdoc(statistics.quantiles) in text and inspect.getdoc(statistics) in text
    assert len(arrays.train["tokens"]) > 4 * len(arrays.test["tokens"]) > 1000
    assert not {*docstrings.TRAIN} & {*docstrings.TEST}


def test_it_is_a_source():
    data = load("docstrings", val_fraction=0.1)
    assert (data.shape, data.classes, data.labelled) == ((64,), 256, True)
    assert data.val is not None and set(data.test.read(np.array([3]))) == {"tokens", "label", "index"}


def test_what_is_not_there_is_refused(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="'docstrings:os' is not known; accepted: docstrings, docstrings:packages"):
        read_docstrings("os")
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match="which is not there: expected a Python with its library's source"):
        read_docstrings()


def test_packages_have_as_many_rows_each_of_files_of_their_own():
    arrays = read_docstrings("packages")
    assert arrays.names == docstrings.PACKAGES
    for part, columns in (("train", arrays.train), ("test", arrays.test)):
        each = docstrings.OF_PACKAGE[part]
        assert columns["tokens"].shape == (6 * each, 64) and columns["tokens"].dtype == columns["label"].dtype == np.int32
        np.testing.assert_array_equal(np.bincount(columns["label"]), [each] * 6)
    train, test = ({bytes(row.tolist()) for row in columns["tokens"]} for columns in (arrays.train, arrays.test))
    assert len(train & test) < 0.01 * len(test)
    words = {"flax": "nnx", "sklearn": "estimator"}
    for number, name in enumerate(arrays.names):
        text = bytes(arrays.train["tokens"][arrays.train["label"] == number].reshape(-1).tolist()).decode(errors="ignore")
        assert words.get(name, name) in text


def test_packages_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(docstrings, "PACKAGES", ("no_such_package",))
    with pytest.raises(InputError, match=r"'docstrings:packages' needs the package 'no_such_package'$"):
        read_docstrings("packages")
    monkeypatch.setattr(docstrings, "PACKAGES", ("iniconfig",))
    with pytest.raises(InputError, match="needs 1,750 rows of docstrings of the package 'iniconfig', which has fewer"):
        read_docstrings("packages")
