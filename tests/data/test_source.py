import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data.source import Arrays, array_source, digest, file_digest, subset


def arrays(seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (6, 3, 4, 2)).astype(np.uint8)
    return Arrays(images, np.arange(6, dtype=np.int32), images[:2], np.arange(2, dtype=np.int32), ("a", "b"))


def test_reads_rows_in_the_order_asked():
    a = arrays()
    source = array_source(a.train_images, a.train_labels.astype(np.int64))
    batch = source.read(np.array([4, 0]))
    assert source.size == 6
    np.testing.assert_array_equal(batch["image"], a.train_images[[4, 0]])
    assert batch["label"].tolist() == [4, 0] and batch["index"].tolist() == [4, 0]
    assert (batch["image"].dtype, batch["label"].dtype, batch["index"].dtype) == (np.uint8, np.int32, np.int32)


def test_a_part_keeps_the_positions_of_the_whole():
    a = arrays()
    part = array_source(a.train_images, a.train_labels, np.array([1, 5]))
    batch = part.read(np.arange(part.size))
    assert batch["index"].tolist() == [1, 5] and batch["label"].tolist() == [1, 5]
    np.testing.assert_array_equal(batch["image"], a.train_images[[1, 5]])


def test_digest_sees_every_byte_and_shape():
    a = arrays()
    assert digest(a) == digest(arrays())
    pixel = a.train_images.copy()
    pixel[5, 2, 3, 1] ^= 1
    changed = [
        a._replace(train_images=pixel),
        a._replace(test_labels=a.test_labels[::-1]),
        a._replace(names=("a", "c")),
        a._replace(train_images=a.train_images.reshape(6, 4, 3, 2)),
    ]
    assert len({digest(x) for x in [a, *changed]}) == 5


def test_labels_are_those_of_the_rows():
    a = arrays()
    for kept in (None, np.array([4, 1])):
        source = array_source(a.train_images, a.train_labels.astype(np.int64), kept)
        np.testing.assert_array_equal(source.labels(), source.read(np.arange(source.size))["label"])
        assert source.labels().dtype == np.int32


def test_file_digest_of_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert file_digest(tmp_path, ["a", "gone"]) != file_digest(tmp_path, ["a"])  # reading it is refused, not naming it
    with pytest.raises(InputError, match=r"^file .*/folder: cannot be read .Is a directory.$"):
        file_digest(tmp_path, ["a", "folder"])


def test_a_subset_of_a_subset():
    a = arrays()
    part = subset(subset(array_source(a.train_images, a.train_labels), np.array([5, 3, 1])), np.array([2, 0]))
    batch = part.read(np.array([1, 0]))
    assert part.size == 2 and batch["index"].tolist() == [5, 1] and part.labels().tolist() == [1, 5]
    np.testing.assert_array_equal(batch["image"], a.train_images[[5, 1]])
