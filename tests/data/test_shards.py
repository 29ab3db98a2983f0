import numpy as np
import pytest
from made import write_shard

from kdjax.core.check import InputError
from kdjax.data import Damaged
from kdjax.data.shards import Shard, check_shards, labels_of, records_of


def test_records_are_named_by_file():
    records = records_of(None, [Shard("a", 3), Shard("b", 1), Shard("c", 2)])
    assert records.size == 6
    assert [records.name(row) for row in (0, 2, 3, 5)] == ["record 0 of a", "record 2 of a", "record 0 of b", "record 1 of c"]


class Held(list):
    """Records, those that are None damaged."""

    def __getitem__(self, row):
        if super().__getitem__(row) is None:
            raise RuntimeError("Corrupted Riegeli/records file: chunk data hash mismatch (computed 0x1, stored 0x2), chunk at 9")
        return super().__getitem__(row)

    def __getitems__(self, rows):
        return [self[row] for row in rows]


def test_the_first_damaged_record_is_named():
    records = records_of(Held([b"0", b"1", None, b"3", None]), [Shard("a", 2), Shard("b", 3)])
    assert records.read(np.array([3, 0, 3])) == [b"3", b"0", b"3"] and records.read([]) == []
    with pytest.raises(Damaged, match=r"^record 0 of b: cannot be read \(chunk data hash mismatch\); ") as error:
        records.read(np.array([1, 2, 4]))
    assert error.value.row == 1


def test_labels_of_damaged_records_are_those_of_the_next():
    records = records_of(Held([b"0", None, None, b"3", None]), [Shard("a", 5)])
    assert labels_of(records, int).tolist() == [0, 3, 3, 3, 0]
    assert labels_of(records_of(Held([None, None]), [Shard("a", 2)]), int).tolist() == [-1, -1]
    many = Held([b"%d" % k for k in range(1000)])
    many[300] = None
    labels = labels_of(records_of(many, [Shard("a", 1000)]), int)
    assert labels.dtype == np.int32 and labels[298:303].tolist() == [298, 299, 301, 301, 302] and labels[-1] == 999


def test_files_are_checked(tmp_path):
    file = tmp_path / "a.array_record"
    write_shard(file, [b"0", b"1"])
    check_shards([Shard(str(file), 2)])
    with pytest.raises(InputError, match=f"^file {file} holds 2 records: expected 3$"):
        check_shards([Shard(str(file), 2), Shard(str(file), 3)])
    with pytest.raises(InputError, match=f"^file {file}x is missing: expected 2 records in it$"):
        check_shards([Shard(f"{file}x", 2)])
    file.write_bytes(b"words")
    with pytest.raises(InputError, match=f"^file {file} is damaged .ArrayRecord file should be at least 64KB big.: expected 2"):
        check_shards([Shard(str(file), 2)])
