import numpy as np
import pytest
from made import pixels

from kdjax.core.check import InputError
from kdjax.data import Damaged, Source, array_source, read_undamaged
from kdjax.data.memory import CHUNK, decode_all, step_over
from kdjax.data.source import subset


def broken(n, *bad, size=2):
    """Rows of which some cannot be decoded."""
    whole = array_source(pixels(n, size), np.arange(n) % 7)

    def read(rows):
        for at, row in enumerate(rows):
            if row in bad:
                raise Damaged(f"image {row}.png: cannot be decoded", at)
        return whole.read(rows)

    return Source(n, read, whole.labels), whole


@pytest.mark.parametrize(("size", "workers"), [(2, 0), (64, 0), (2, 2)])  # one after the other, threads, processes
def test_reads_all_rows(size, workers):
    sources = [broken(2 * CHUNK + 9, size=size)[1], broken(3, size=size)[1]]
    for source, found in zip(sources, decode_all(sources, (size, size, 1), skip=False, workers=workers), strict=True):
        batch = source.read(np.arange(source.size))
        np.testing.assert_array_equal(found.columns["image"], batch["image"])
        np.testing.assert_array_equal(found.labels, batch["label"])
        assert found.labels.dtype == np.int32 and found.damaged == {}


@pytest.mark.parametrize(("size", "workers"), [(2, 0), (64, 0), (2, 2)])
def test_damage_stops_or_is_noted(size, workers):
    bad = (1, CHUNK + 4, CHUNK + 5)
    source, whole = broken(2 * CHUNK, *bad, size=size)
    with pytest.raises(Damaged, match=r"image 1.png"):
        decode_all([source], (size, size, 1), skip=False, workers=workers)
    (found,) = decode_all([source], (size, size, 1), skip=True, workers=workers)
    assert found.damaged == {row: f"image {row}.png: cannot be decoded" for row in bad}
    good = np.setdiff1d(np.arange(2 * CHUNK), bad)
    np.testing.assert_array_equal(found.columns["image"][good], whole.read(good)["image"])
    assert not found.columns["image"][list(bad)].any()
    np.testing.assert_array_equal(found.labels, whole.labels())


def test_a_whole_damaged_chunk():
    (found,) = decode_all([broken(CHUNK + 1, *range(CHUNK))[0]], (2, 2, 1), skip=True)
    assert list(found.damaged) == list(range(CHUNK)) and found.columns["image"][-1].any()


@pytest.mark.parametrize("rows", [np.arange(8), np.array([7, 6, 2, 3]), np.array([1, 2, 5, 7])])
@pytest.mark.parametrize("bad", [(), (2,), (2, 3, 7), (1, 2)])
def test_steps_over_as_read_sound_does(rows, bad):
    source, _ = broken(8, *bad)
    (found,) = decode_all([source], (2, 2, 1), skip=True)
    batch, _ = read_undamaged(subset(source, rows), np.arange(len(rows)), skip=True)
    assert step_over(rows, found.damaged).tolist() == batch["index"].tolist()


def test_too_much_damage_is_refused_as_read_sound_does():
    lines = {row: f"image {row}.png" for row in range(100)}
    assert step_over(np.arange(99, 300), lines)[0] == 100
    assert step_over(np.arange(1, 300), lines)[0] == 100  # 99 in a row
    for rows, after in ((np.arange(300), 99), (np.arange(4), 3), (np.arange(20, 40), 19)):
        with pytest.raises(InputError, match=f"^image {rows[0]}.png, nor can the {after} images after it"):
            step_over(rows, lines)
