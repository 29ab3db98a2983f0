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
    with pytest.raises(InputError, match="'docstrings:os' is not known; accepted: docstrings"):
        read_docstrings("os")
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match="which is not there: expected a Python with its library's source"):
        read_docstrings()
