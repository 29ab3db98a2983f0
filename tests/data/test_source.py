import numpy as np
import pytest

from kdjax.core.check import InputError
from kdjax.data.source import Arrays, array_source, column_source, digest, file_digest, further_columns, subset


def arrays(seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (6, 3, 4, 2)).astype(np.uint8)
    train = {"image": images, "label": np.arange(6, dtype=np.int32)}
    return Arrays(train, {name: x[:2] for name, x in train.items()}, ("a", "b"))


def test_reads_rows_in_the_order_asked():
    a = arrays()
    source = array_source(a.train["image"], a.train["label"].astype(np.int64))
    batch = source.read(np.array([4, 0]))
    assert source.size == 6
    np.testing.assert_array_equal(batch["image"], a.train["image"][[4, 0]])
    assert batch["label"].tolist() == [4, 0] and batch["index"].tolist() == [4, 0]
    assert (batch["image"].dtype, batch["label"].dtype, batch["index"].dtype) == (np.uint8, np.int32, np.int32)


def test_a_part_keeps_the_positions_of_the_whole():
    a = arrays()
    part = array_source(a.train["image"], a.train["label"], np.array([1, 5]))
    batch = part.read(np.arange(part.size))
    assert batch["index"].tolist() == [1, 5] and batch["label"].tolist() == [1, 5]
    np.testing.assert_array_equal(batch["image"], a.train["image"][[1, 5]])


def test_digest_sees_every_byte_and_shape():
    a = arrays()
    assert digest(a) == digest(arrays())
    pixel = a.train["image"].copy()
    pixel[5, 2, 3, 1] ^= 1
    changed = [
        a._replace(train=a.train | {"image": pixel}),
        a._replace(test=a.test | {"label": a.test["label"][::-1]}),
        a._replace(names=("a", "c")),
        a._replace(train=a.train | {"image": a.train["image"].reshape(6, 4, 3, 2)}),
        a._replace(train=a.train | {"mask": pixel}),
        a._replace(train=a.train | {"mask": pixel + 1}),
        a._replace(train=a.train | {"box": pixel}),
        a._replace(val=a.test),
    ]
    assert len({digest(x) for x in [a, *changed]}) == 9


def test_labels_are_those_of_the_rows():
    a = arrays()
    for kept in (None, np.array([4, 1])):
        source = array_source(a.train["image"], a.train["label"].astype(np.int64), kept)
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
    part = subset(subset(array_source(a.train["image"], a.train["label"]), np.array([5, 3, 1])), np.array([2, 0]))
    batch = part.read(np.array([1, 0]))
    assert part.size == 2 and batch["index"].tolist() == [5, 1] and part.labels().tolist() == [1, 5]
    np.testing.assert_array_equal(batch["image"], a.train["image"][[5, 1]])


def test_any_columns_pass_through_parts():
    columns = {"tokens": np.arange(20).reshape(5, 4), "domain": np.arange(5) % 2, "box": np.ones((5, 2, 4), np.float32)}
    part = subset(column_source(columns, np.array([0, 2, 4, 3])), np.array([2, 1]))
    batch = part.read(np.arange(2))
    assert batch["index"].tolist() == [4, 2] and batch["label"].tolist() == [-1, -1] and part.labels().tolist() == [-1, -1]
    for name, x in columns.items():
        np.testing.assert_array_equal(batch[name], x[[4, 2]])
    assert {name: x.shape for name, x in further_columns(part).items()} == {"tokens": (0, 4), "domain": (0,), "box": (0, 2, 4)}


def test_labels_of_positions_are_no_class_of_a_row():
    masks = np.arange(24).reshape(2, 3, 4) - 1
    source = column_source({"image": np.zeros((2, 3, 4, 1), np.uint8), "label": masks})
    assert source.labels().tolist() == [-1, -1]
    np.testing.assert_array_equal(source.read(np.array([1]))["label"], masks[1:])
    soft = column_source({"image": np.zeros((2, 3, 4, 1), np.uint8), "label": np.full((2, 5), 0.2)})
    assert soft.labels().tolist() == [-1, -1] and soft.read(np.array([0]))["label"].dtype == np.float64
