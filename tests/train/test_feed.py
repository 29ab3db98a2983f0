from itertools import pairwise

import numpy as np
import pytest
from tiny import TRAIN, assert_same, run, stage

from kdjax.core import InputError
from kdjax.data import Sampler, array_source, epoch_rows, epochs, pairs
from kdjax.train import Pace
from kdjax.train import feed as feeding
from kdjax.train.devices import find_devices, one_device
from kdjax.train.feed import feed

DATA_FREE = stage(source=None)


def chunks(folder, one, own=False, start=0, **changed):
    return list(feed(one, run(folder, **changed), own, start))


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
@pytest.mark.parametrize(("share", "members"), [("batch", 2), ("none", 1), ("none", 2)])
def test_batches_read_ahead_are_those_of_the_resident_set(tmp_path, share, members, parallel):
    one, own = stage(members=members, steps=7), share == "none" and members > 1
    options = {"share": share, "devices": find_devices(parallel, count=2)}
    resident, streamed = (chunks(tmp_path, one, own, resident=r, **options) for r in (True, False))
    assert [c.steps for c in resident] == [c.steps for c in streamed] == [2, 2, 2, 1]
    for rows, batches in zip(resident, streamed, strict=True):
        assert rows.now.shape == (rows.steps, *((members,) if own else ()), 16)
        wanted = TRAIN.read(rows.now.reshape(-1))
        assert_same(
            {k: np.asarray(x) for k, x in batches.now.items()},
            {k: x.reshape(*rows.now.shape, *x.shape[1:]) for k, x in wanted.items()},
        )
        assert rows.epochs.tolist() == batches.epochs.tolist() and not batches.damaged
    assert np.concatenate([c.epochs for c in resident]).tolist() == [0, 0, 1, 1, 2, 2, 3]


def test_rows_are_those_of_the_seed_of_the_data(tmp_path):
    rows = np.concatenate([c.now for c in chunks(tmp_path, stage(), data_seed=6)])
    np.testing.assert_array_equal(rows, [epoch_rows(6, step, size=40, batch=16) for step in range(12)])


def test_members_with_an_order_of_their_own_differ(tmp_path):
    first, second = np.moveaxis(np.concatenate([c.now for c in chunks(tmp_path, stage(members=2), own=True, share="none")]), 1, 0)
    assert (first != second).any()
    np.testing.assert_array_equal(first, np.concatenate([c.now for c in chunks(tmp_path, stage(), share="none")]))


@pytest.mark.parametrize("resident", [True, False])
def test_the_position_is_the_step(tmp_path, resident):
    whole, rest = (chunks(tmp_path, stage(), start=s, resident=resident) for s in (0, 4))
    assert_same([c.now for c in whole[2:]], [c.now for c in rest])


def test_reading_ahead_begins_at_the_step_and_asks_for_no_row_twice(tmp_path):
    asked = []

    def read(rows):
        asked.append(len(rows))
        return TRAIN.read(rows)

    chunks(tmp_path, stage(source=TRAIN._replace(read=read)), start=8, resident=False)
    assert asked == [1, 32, 32]  # one row for the size of an image; then two chunks of two steps


def test_chunks_divide_the_block_and_stay_small(tmp_path, monkeypatch):
    one = stage(pace=Pace(12, 12, 12), steps=29)
    step = 16 * (16 + 4 + 4)  # bytes: image, label, index
    for bytes_, lengths in ((5 * step, [4] * 7 + [1]), (1, [1] * 29), (100 * step, [12, 12, 5])):
        monkeypatch.setattr(feeding, "CHUNK_BYTES", bytes_)
        found = chunks(tmp_path, one, resident=False)
        assert [c.steps for c in found] == lengths
        ends = np.cumsum([0, *lengths])
        assert all(a // 12 == (b - 1) // 12 for a, b in pairwise(ends.tolist()))
    assert [c.steps for c in chunks(tmp_path, one)] == [12, 12, 5]


def test_a_stage_may_bring_its_own_sampler(tmp_path):
    def rows(seed, step):
        return np.full(16, 10 * seed + step, np.int32)

    one = stage(sampler=Sampler(rows=rows, epoch_of=lambda step: step // 5, batch=16))
    found = chunks(tmp_path, one, data_seed=2)
    assert np.concatenate([c.now for c in found])[:, 0].tolist() == [20 + step for step in range(12)]
    assert np.concatenate([c.epochs for c in found]).tolist() == [step // 5 for step in range(12)]


def test_the_rows_of_a_group_stay_in_one_process(tmp_path, monkeypatch):
    groups = np.arange(40) // 5
    one, devices = stage(sampler=pairs(groups, pairs=8), source=TRAIN), one_device()
    monkeypatch.setattr("jax.process_count", lambda: 16)  # each could have one row, but not half a pair
    with pytest.raises(InputError, match="expected a multiple of 16, the processes times 2, the rows that stay together"):
        chunks(tmp_path, one, devices=devices)


def test_without_a_source_rows_are_only_numbered(tmp_path):
    for own in (False, True):
        for chunk in chunks(tmp_path, DATA_FREE, own):
            np.testing.assert_array_equal(chunk.now["index"], np.broadcast_to(np.arange(16), (2, *((1,) if own else ()), 16)))
            assert chunk.epochs.tolist() == [0, 0]


def test_closing_early_is_quiet(tmp_path):
    large = array_source(np.zeros((400, 4, 4, 1), np.uint8), np.zeros(400))
    ahead = feed(stage(source=large, steps=1000), run(tmp_path, resident=False), False, 0)
    next(ahead)
    ahead.close()


def kept(block, **changed):
    """Every epoch of three steps, the last one of the 8 rows that are left."""
    return stage(sampler=epochs(40, 16, keep_last=True), pace=Pace(block, block, block), **changed)


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
@pytest.mark.parametrize(("block", "lengths"), [(3, [2, 1, 2, 1, 2]), (4, [2, 1, 1, 1, 1, 2])])
def test_a_smaller_last_batch_is_a_chunk_of_its_own(tmp_path, parallel, block, lengths):
    one, options = kept(block, steps=8), {"devices": find_devices(parallel, count=2), "data_seed": 6}
    resident, streamed = (chunks(tmp_path, one, resident=r, **options) for r in (True, False))
    assert [c.steps for c in resident] == [c.steps for c in streamed] == lengths
    assert sum(c.images for c in streamed) == sum(c.images for c in resident) == 40 + 40 + 32
    seen = [rows for c in resident for rows in c.now]
    assert [len(rows) for rows in seen] == [16, 16, 8, 16, 16, 8, 16, 16]
    assert sorted(np.concatenate(seen[3:6])) == list(range(40))
    assert np.concatenate([c.epochs for c in streamed]).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    for rows, batches in zip(resident, streamed, strict=True):
        np.testing.assert_array_equal(np.asarray(batches.now["index"]), rows.now)
    rest = chunks(tmp_path, one, start=block, **options)
    assert_same([c.now for c in rest], [c.now for c in resident][-len(rest) :])


def test_processes_share_out_a_smaller_last_batch_too(tmp_path, monkeypatch):
    devices = find_devices("pmap", count=1)
    whole = chunks(tmp_path, kept(3), devices=devices)
    monkeypatch.setattr("jax.process_count", lambda: 2)
    parts = []
    for process in (0, 1):
        monkeypatch.setattr("jax.process_index", lambda process=process: process)
        parts.append(chunks(tmp_path, kept(3), devices=devices))
    for one, first, second in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(one.now, np.concatenate([first.now, second.now], axis=-1))
