import pickle

import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data import Damaged, Source, array_source, column_source, keep_labels, one_row, read_undamaged

IMAGES = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1)
LABELS = np.arange(8) % 4


def broken(*bad, size=8):
    """Rows of which some cannot be decoded."""
    whole = array_source(np.resize(IMAGES, (size, 1, 1, 1)), np.resize(LABELS, size))

    def read(rows):
        for at, row in enumerate(rows):
            if row in bad:
                raise Damaged(f"image {row}.png: cannot be decoded", at)
        return whole.read(rows)

    return Source(size, read, whole.labels)


def test_sound_rows_are_read_as_they_are():
    batch, lines = read_undamaged(broken(3), np.array([5, 0]), skip=False)
    assert batch["index"].tolist() == [5, 0] and lines == []


def test_damage_passes_without_skip():
    with pytest.raises(Damaged, match=r"^image 3.png: cannot be decoded; --config.data.corrupt=skip takes") as error:
        read_undamaged(broken(3), np.array([5, 3, 0]), skip=False)
    assert error.value.row == 1 and isinstance(error.value, InputError)
    again = pickle.loads(pickle.dumps(error.value))
    assert (again.row, again.what, str(again)) == (1, error.value.what, str(error.value))


def test_the_next_sound_row_takes_the_place():
    batch, lines = read_undamaged(broken(3, 4, 7), np.array([7, 1, 3, 4, 3]), skip=True)
    assert batch["index"].tolist() == [0, 1, 5, 5, 5]
    np.testing.assert_array_equal(batch["image"], IMAGES[batch["index"]])
    np.testing.assert_array_equal(batch["label"], LABELS[batch["index"]])
    assert {k: v.dtype for k, v in batch.items()} == {"image": np.uint8, "label": np.int32, "index": np.int32}
    assert lines == [f"image {i}.png: cannot be decoded" for i in (7, 3, 4)]  # each once


def test_sources_made_from_a_source_pass_the_damage_on():
    labelled, partly = keep_labels(broken(1), 2, seed=0)
    for source in (labelled, partly):
        batch, lines = read_undamaged(source, np.arange(source.size), skip=True)
        assert batch["index"].tolist() == [0, 2, 2, *range(3, 8)] and len(lines) == 1


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (broken(*range(8)), "image 2.png: cannot be decoded, nor can the 7 images after it"),
        (broken(*range(2, 102), size=200), "image 2.png: cannot be decoded, nor can the 99 images after it: too many"),
        (broken(0, size=1), "image 0.png: cannot be decoded, and there is no other"),
    ],
)
def test_too_much_damage_is_refused(source, line):
    with pytest.raises(InputError, match=line) as error:
        read_undamaged(source, np.array([2 % source.size]), skip=True)
    assert not isinstance(error.value, Damaged)
    assert read_undamaged(broken(*range(2, 101), size=200), np.array([2]), skip=True)[0]["index"].tolist() == [101]


def test_one_row_has_the_shapes_of_a_source_without_rows_and_else_is_the_first_that_can_be_read():
    columns = {"image": np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), "label": np.array([4, 5, 6])}
    whole, none = (column_source({name: x[:size] for name, x in columns.items()}) for size in (3, 0))
    assert one_row(whole)["image"].tolist() == [[[[0]]]] and one_row(whole)["label"].tolist() == [4]
    assert {name: (x.shape, x.dtype) for name, x in one_row(none).items()} == {
        name: (x.shape, x.dtype) for name, x in one_row(whole).items()
    }
