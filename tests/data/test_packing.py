"""What is written of a set; tests/launch/test_pack.py packs whole ones."""

import numpy as np
import pytest
from made import pixels

from kdjax.core import InputError
from kdjax.data import Damaged, load
from kdjax.data.load import open_source
from kdjax.data.packing import check_target, pack

ROWS = 70  # more than a worker reads at once
OPTIONS = {"source": "", "image_size": None, "encoding": "raw", "quality": 95, "workers": 0, "shard_bytes": 2**20}


@pytest.fixture
def opened(tmp_path):
    """A set with a mask and a domain for every image."""
    images, masks = pixels(ROWS, size=4), np.arange(ROWS * 16, dtype=np.uint16).reshape(ROWS, 4, 4)
    arrays = {"images": images, "labels": np.arange(ROWS) % 2, "mask": masks, "domain": np.arange(ROWS) % 3}
    np.savez(tmp_path / "a.npz", **{f"{part}_{name}": x for part in ("train", "test") for name, x in arrays.items()})
    return open_source(f"npz:{tmp_path / 'a.npz'}")


def damaged(source, bad):
    """The source, but that some of its images cannot be decoded."""

    def read(asked):
        if found := [at for at, row in enumerate(asked) if row in bad]:
            raise Damaged(f"image {asked[found[0]]} is damaged", found[0])
        return source.read(asked)

    return source._replace(read=read)


def rows(source):
    return source.read(np.arange(source.size))


def test_columns_of_images_that_cannot_be_decoded_are_left_out_with_them(opened, tmp_path):
    contents = pack(opened._replace(train=damaged(opened.train, (3, 66))), tmp_path / "sound", skip=True, **OPTIONS)
    assert contents.skipped == ["image 3 is damaged", "image 66 is damaged"]
    found, good = rows(load(f"array_record:{tmp_path / 'sound'}").train), np.setdiff1d(np.arange(ROWS), [3, 66])
    for name in ("image", "label", "mask", "domain"):
        np.testing.assert_array_equal(found[name], rows(opened.train)[name][good])


def test_without_leave_an_image_that_cannot_be_decoded_ends_it_and_nothing_is_left(opened, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Damaged, match="image 3 is damaged"):
        pack(opened._replace(train=damaged(opened.train, (3,))), tmp_path / "out", skip=False, **OPTIONS)
    with pytest.raises(InputError, match="image 69 is damaged, nor can any other of the 70 images of train"):
        pack(opened._replace(train=damaged(opened.train, range(ROWS))), tmp_path / "out", skip=True, **OPTIONS)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_done_is_told(opened, tmp_path):
    told = []
    pack(opened, tmp_path / "out", skip=False, note=lambda *what: told.append(what), **OPTIONS)
    assert told == [("train", 64, 70), ("train", 70, 70), ("test", 64, 70), ("test", 70, 70)]


def test_where_a_set_can_be_packed(tmp_path):
    check_target(tmp_path)
    check_target(tmp_path / "new")
    (tmp_path / "file").touch()
    for place, line in ((tmp_path, "holds files"), (tmp_path / "file", "is a file"), (tmp_path / "a" / "b", "is not there")):
        with pytest.raises(InputError, match=line):
            check_target(place)
